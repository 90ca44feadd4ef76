"""Arithmetic over resource lists: mappings from a resource name to a quantity.

Source: k8s.io/apiserver/pkg/quota/v1/resources.go. Every function returns a new mapping.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from podbay.objects.quantity import Quantity

__all__ = [
    "ResourceList",
    "add",
    "exceeded",
    "mask",
    "negative_names",
    "parse_list",
    "print_list",
    "subtract_to_zero",
    "without_zeros",
]

ResourceList: TypeAlias = dict[str, Quantity]

ZERO = Quantity.parse("0")


def parse_list(values: Mapping[str, Any] | None) -> ResourceList:
    """Read the quantities of a JSON mapping (`requests`, `hard`); None reads as empty."""
    return {name: Quantity.from_json(value) for name, value in (values or {}).items()}


def print_list(values: ResourceList) -> dict[str, str]:
    """The JSON mapping of a resource list, in canonical spelling."""
    return {name: str(quantity) for name, quantity in values.items()}


def add(left: ResourceList, right: ResourceList) -> ResourceList:
    """Sums by name; a name in one list only is kept."""
    result = dict(left)
    for name, quantity in right.items():
        result[name] = result[name] + quantity if name in result else quantity
    return result


def subtract_to_zero(left: ResourceList, right: ResourceList) -> ResourceList:
    """Differences by name, never below zero; names of either list are present."""
    result: ResourceList = {}
    for name, quantity in left.items():
        rest = quantity - right[name] if name in right else quantity
        result[name] = rest if rest > ZERO else ZERO
    for name in right:
        result.setdefault(name, ZERO)
    return result


def mask(values: ResourceList, names: Iterable[str]) -> ResourceList:
    """Only the entries whose name is given."""
    wanted = set(names)
    return {name: quantity for name, quantity in values.items() if name in wanted}


def without_zeros(values: ResourceList) -> ResourceList:
    return {name: quantity for name, quantity in values.items() if not quantity.is_zero}


def negative_names(values: ResourceList) -> list[str]:
    return [name for name, quantity in values.items() if quantity < ZERO]


def exceeded(values: ResourceList, limits: ResourceList) -> list[str]:
    """The names whose value is over its limit; names without a limit are free."""
    return [name for name, limit in limits.items() if name in values and values[name] > limit]
