"""Query parameters of streaming subresources as kube-apiserver reads them, and the container a request means.

Source: k8s.io/apimachinery/pkg/conversion/queryparams and pkg/runtime/conversion.go for the readings,
pkg/registry/core/pod/strategy.go validateContainer for the container.
"""

from __future__ import annotations

import re

from podbay.apiserver import status
from podbay.apiserver.field import go_quote
from podbay.apiserver.request import Request
from podbay.objects.meta import Object, name_of

__all__ = ["choose_container", "read_boolean", "read_integer"]

_INT = re.compile(r"[+-]?[0-9]+\Z")
_CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")


def read_boolean(request: Request, name: str) -> bool:
    """True for everything but absence, "0" and "false" in any case; `?follow` alone is true."""
    return name in request.query and request.param(name).lower() not in ("0", "false")


def read_integer(request: Request, name: str) -> int | None:
    """A 64 bit integer, None when absent. Raises ApiError 400 with Go's words, also for an empty value."""
    if name not in request.query:
        return None
    text = request.param(name)
    if not _INT.match(text):
        raise status.bad_request(f"strconv.ParseInt: parsing {go_quote(text)}: invalid syntax")
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise status.bad_request(f"strconv.ParseInt: parsing {go_quote(text)}: value out of range")
    return value


def choose_container(pod: Object, wanted: str) -> str:
    """The container a request means. Raises ApiError 400 when the pod has none of that name, or several."""
    spec = pod.get("spec") or {}
    names = [str(c["name"]) for listed in _CONTAINER_LISTS for c in spec.get(listed) or ()]
    if wanted:
        if wanted not in names:
            raise status.bad_request(f"container {wanted} is not valid for pod {name_of(pod)}")
        return wanted
    main = list(spec.get("containers") or ())
    if len(main) == 1:
        return str(main[0]["name"])
    message = f"a container name must be specified for pod {name_of(pod)}"
    if main:
        message += f", choose one of: [{' '.join(names)}]"
    raise status.bad_request(message)
