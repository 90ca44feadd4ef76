"""quantity(): amounts with suffixes. Source: k8s.io/apiserver/pkg/cel/library/quantity.go.

Comparisons are in ordering.py, shared with versions.
"""

from __future__ import annotations

from typing import Any

from podbay.apiserver.cel.library.declare import Function, Overload, opaque, payload
from podbay.objects.quantity import Quantity

__all__ = ["FUNCTIONS", "quantity_of"]

_NANOS = 10**9
_INT64 = 1 << 63


def quantity_of(value: Any) -> int:
    """The nanos of a quantity value."""
    return int(payload(value, "quantity"))


def _value(nanos: int) -> dict[str, Any]:
    return opaque("quantity", str(nanos))


def _parse(text: str) -> dict[str, Any]:
    return _value(Quantity.parse(text).nanos)


def _is_quantity(text: str) -> bool:
    try:
        Quantity.parse(text)
    except ValueError:
        return False
    return True


def _sign(value: Any) -> int:
    nanos = quantity_of(value)
    return (nanos > 0) - (nanos < 0)


def _is_integer(value: Any) -> bool:
    whole, rest = divmod(quantity_of(value), _NANOS)
    return not rest and -_INT64 <= whole < _INT64


def _as_integer(value: Any) -> int:
    if not _is_integer(value):
        raise ValueError("cannot convert value to integer")
    return quantity_of(value) // _NANOS


def _as_float(value: Any) -> float:
    return quantity_of(value) / _NANOS


def _amount(value: Any) -> int:
    return value * _NANOS if isinstance(value, int) else quantity_of(value)


def _add(value: Any, other: Any) -> dict[str, Any]:
    return _value(quantity_of(value) + _amount(other))


def _sub(value: Any, other: Any) -> dict[str, Any]:
    return _value(quantity_of(value) - _amount(other))


def _arithmetic(name: str) -> tuple[Overload, ...]:
    return (
        Overload(f"quantity_{name}", ("quantity", "quantity"), "quantity"),
        Overload(f"quantity_{name}_int", ("quantity", "int"), "quantity"),
    )


FUNCTIONS = (
    Function("quantity", _parse, (Overload("string_to_quantity", ("string",), "quantity"),), member=False),
    Function(
        "isQuantity", _is_quantity, (Overload("is_quantity_string", ("string",), "bool"),), member=False
    ),
    # Not a method: Kubernetes declares it so.
    Function("sign", _sign, (Overload("quantity_sign", ("quantity",), "int"),), member=False),
    Function("isInteger", _is_integer, (Overload("quantity_is_integer", ("quantity",), "bool"),)),
    Function("asInteger", _as_integer, (Overload("quantity_get_int", ("quantity",), "int"),)),
    Function("asApproximateFloat", _as_float, (Overload("quantity_get_float", ("quantity",), "double"),)),
    Function("add", _add, _arithmetic("add")),
    Function("sub", _sub, _arithmetic("sub")),
)
