"""The functions that Kubernetes adds to CEL, one module a library.

Source: k8s.io/apiserver/pkg/cel/library. The extensions strings, lists, sets, optional and comprehensions of two
variables come from the runtime itself. Left out: named formats, and what would add an overload to a function that
the runtime has (`indexOf` of lists, `string` of an address).
"""

from __future__ import annotations

from collections.abc import Sequence

from podbay.apiserver.cel.library import authorization, lists, network, ordering, quantities, regexes, urls
from podbay.apiserver.cel.library.declare import Function

__all__ = ["functions"]


def functions(asker: authorization.Asker) -> Sequence[Function]:
    """Every function; asker answers the checks of `authorizer`."""
    return (
        *authorization.functions(asker),
        *lists.FUNCTIONS,
        *network.FUNCTIONS,
        *ordering.FUNCTIONS,
        *quantities.FUNCTIONS,
        *regexes.FUNCTIONS,
        *urls.FUNCTIONS,
    )
