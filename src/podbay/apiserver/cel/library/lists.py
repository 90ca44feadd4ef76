"""isSorted, sum, min and max of lists. Source: k8s.io/apiserver/pkg/cel/library/lists.go.

`sum` of an empty list is 0 of whatever the expression needs; the checker has seen to that.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from podbay.apiserver.cel.library.declare import Function, Overload

__all__ = ["FUNCTIONS"]

_SUMMABLE = ("int", "uint", "double", "duration")
_COMPARABLE = (*_SUMMABLE, "bool", "string", "bytes", "timestamp")


def _is_sorted(values: list[Any]) -> bool:
    return all(one <= other for one, other in pairwise(values))


def _sum(values: list[Any]) -> Any:
    total = values[0] if values else 0
    for value in values[1:]:
        total += value
    return total


def _min(values: list[Any]) -> Any:
    if not values:
        raise ValueError("min called on empty list")
    return min(values)


def _max(values: list[Any]) -> Any:
    if not values:
        raise ValueError("max called on empty list")
    return max(values)


def _overloads(types: tuple[str, ...], name: str) -> tuple[Overload, ...]:
    return tuple(Overload(f"list_{t}_{name}_{t}", (f"list<{t}>",), t) for t in types)


FUNCTIONS = (
    Function(
        "isSorted",
        _is_sorted,
        tuple(Overload(f"list_{t}_is_sorted_bool", (f"list<{t}>",), "bool") for t in _COMPARABLE),
    ),
    Function("sum", _sum, _overloads(_SUMMABLE, "sum")),
    Function("min", _min, _overloads(_COMPARABLE, "min")),
    Function("max", _max, _overloads(_COMPARABLE, "max")),
)
