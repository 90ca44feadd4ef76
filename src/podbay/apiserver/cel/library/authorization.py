"""`authorizer`: what the user of the request, or a service account, may do.

Source: k8s.io/apiserver/pkg/cel/library/authz.go. Checks by field or label selector are left out: RBAC rules do not
look at selectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from podbay.apiserver.cel.library.declare import Function, Overload, opaque, payload, tag_of

__all__ = ["Asker", "authorizer_value", "functions", "resource_check"]

Asker: TypeAlias = Callable[[dict[str, str]], tuple[bool, str]]
"""May the user do this: (allowed, reason). Keys: verb, path, or group, resource, subresource, namespace, name; and
serviceAccount ("namespace:name") when it is not the user who is asked about."""


def authorizer_value() -> dict[str, Any]:
    """The variable `authorizer`."""
    return opaque("authorizer", {})


def resource_check(question: dict[str, str]) -> dict[str, Any]:
    """The variable `authorizer.requestResource`."""
    return opaque("resource_check", question)


def _step(source: str, target: str, key: str) -> Callable[[Any, str], dict[str, Any]]:
    """A function that keeps what was said and adds one word."""
    return lambda value, text: opaque(target, {**payload(value, source), key: text})


def _service_account(value: Any, namespace: str, name: str) -> dict[str, Any]:
    return opaque("authorizer", {**payload(value, "authorizer"), "serviceAccount": f"{namespace}:{name}"})


def functions(asker: Asker) -> tuple[Function, ...]:
    def check(value: Any, verb: str) -> dict[str, Any]:
        kind = tag_of(value)
        if kind not in ("path_check", "resource_check"):
            raise ValueError("no such overload")
        allowed, reason = asker({**payload(value, kind), "verb": verb})
        return opaque("decision", {"allowed": allowed, "reason": reason})

    return (
        _chained("path", "authorizer", "path_check", "path", "authorizer_path"),
        _chained("group", "authorizer", "group_check", "group", "authorizer_group"),
        Function(
            "serviceAccount",
            _service_account,
            (Overload("authorizer_serviceaccount", ("authorizer", "string", "string"), "authorizer"),),
        ),
        _chained("resource", "group_check", "resource_check", "resource", "groupcheck_resource"),
        _narrowed("subresource"),
        _narrowed("namespace"),
        _narrowed("name"),
        Function(
            "check",
            check,
            (
                Overload("pathcheck_check", ("path_check", "string"), "decision"),
                Overload("resourcecheck_check", ("resource_check", "string"), "decision"),
            ),
        ),
        _told("allowed", lambda decision: decision["allowed"], "bool"),
        _told("reason", lambda decision: decision["reason"], "string"),
        # RBAC of this server always comes to an answer.
        _told("errored", lambda _decision: False, "bool"),
        _told("error", lambda _decision: "", "string"),
    )


def _chained(name: str, source: str, target: str, key: str, overload: str) -> Function:
    return Function(name, _step(source, target, key), (Overload(overload, (source, "string"), target),))


def _narrowed(name: str) -> Function:
    return _chained(name, "resource_check", "resource_check", name, f"resourcecheck_{name}")


def _told(name: str, read: Callable[[dict[str, Any]], Any], result: str) -> Function:
    return Function(
        name,
        lambda value: read(payload(value, "decision")),
        (Overload(f"decision_{name}", ("decision",), result),),
    )
