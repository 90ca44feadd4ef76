"""The kinds that the embedded API server serves, one module a kind; each exports RESOURCE_TYPES."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

from podbay.apiserver.registry import ResourceType

__all__ = ["all_resource_types"]

_MODULES = (
    "configmap",
    "event",
    "limitrange",
    "namespace",
    "node",
    "persistentvolumeclaim",
    "persistentvolume",
    "pod",
    "resourcequota",
    "secret",
    "serviceaccount",
    "service",
    "reviews",
    "lease",
    "networkpolicy",
    "runtimeclass",
    "rbac",
    "priorityclass",
)
"""In the order of discovery. Imported when asked for: kinds need the registry, which must not need them."""


def all_resource_types() -> tuple[ResourceType, ...]:
    """Every kind, in the order in which discovery lists them within their group."""
    return tuple(_declared())


def _declared() -> Iterator[ResourceType]:
    for name in _MODULES:
        if find_spec(f"{__name__}.{name}") is None:
            continue
        yield from import_module(f"{__name__}.{name}").RESOURCE_TYPES
