"""How a function of a library is declared, and how values of its own types travel.

The runtime cannot hold foreign types, so a value of one is a map with a single key that names the type. The type
checker knows the real types, so no expression can look inside. Equal values must have equal payloads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["OPAQUE_TYPES", "Function", "Overload", "is_opaque", "opaque", "payload", "tag_of"]

OPAQUE_TYPES = {
    "quantity": "kubernetes.Quantity",
    "semver": "kubernetes.Semver",
    "url": "kubernetes.URL",
    "ip": "net.IP",
    "cidr": "net.CIDR",
    "authorizer": "kubernetes.authorization.Authorizer",
    "path_check": "kubernetes.authorization.PathCheck",
    "group_check": "kubernetes.authorization.GroupCheck",
    "resource_check": "kubernetes.authorization.ResourceCheck",
    "decision": "kubernetes.authorization.Decision",
}
"""Our short name of each type and its name in CEL."""


@dataclass(frozen=True, slots=True)
class Overload:
    """One signature. Types are CEL's names ("list<string>") or short names of OPAQUE_TYPES."""

    id: str
    parameters: tuple[str, ...]
    result: str


@dataclass(frozen=True, slots=True)
class Function:
    """A function and what runs for all its signatures; ValueError becomes an error of the expression."""

    name: str
    run: Callable[..., Any]
    overloads: tuple[Overload, ...]
    member: bool = True


def is_opaque(type_name: str) -> bool:
    return type_name in OPAQUE_TYPES


def opaque(type_name: str, value: Any) -> dict[str, Any]:
    """A value of one of the types."""
    return {f"@{type_name}": value}


def tag_of(value: Any) -> str:
    """The short type name of a value, empty for everything that is not ours."""
    if isinstance(value, dict) and len(value) == 1:
        key = next(iter(value))
        if isinstance(key, str) and key[:1] == "@":
            return key[1:]
    return ""


def payload(value: Any, type_name: str) -> Any:
    """What opaque() was given; raises ValueError for any other value (an expression of dynamic type)."""
    if tag_of(value) != type_name:
        raise ValueError("no such overload")
    return value[f"@{type_name}"]
