"""Rules for the quantities in LimitRanges and ResourceQuotas: defaults, names and values of each entry.

Source: pkg/apis/core/v1/defaults.go (SetDefaults_ResourceList) and pkg/apis/core/validation/validation.go.
"""

from __future__ import annotations

from typing import Any

from podbay.apiserver.field import FieldError, Path, invalid
from podbay.objects.names import qualified_name_errors
from podbay.objects.quantity import Quantity
from podbay.objects.resource_names import (
    is_extended_resource_name,
    is_integer_resource,
    is_native_resource,
    is_standard_container_resource,
    is_standard_resource,
)

__all__ = [
    "container_resource_name_errors",
    "quantity_errors",
    "resource_name_errors",
    "round_quantities",
]


def round_quantities(values: dict[str, Any] | None) -> None:
    """Round every quantity up to thousandths, in place: nothing finer is ever stored."""
    for name, value in (values or {}).items():
        quantity = Quantity.from_json(value)
        rounded = quantity.rounded_up(-3)
        if values is not None and rounded is not quantity:
            values[name] = str(rounded)


def resource_name_errors(name: str, path: Path) -> list[FieldError]:
    """A qualified name that is Kubernetes' own or has a prefix."""
    errors = [invalid(path, name, message) for message in qualified_name_errors(name)]
    if not errors and "/" not in name and not is_standard_resource(name):
        errors.append(invalid(path, name, "must be a standard resource type or fully qualified"))
    return errors


def container_resource_name_errors(name: str, path: Path) -> list[FieldError]:
    """A resource that a container can ask for."""
    errors = resource_name_errors(name, path)
    if "/" not in name:
        if not is_standard_container_resource(name):
            errors.append(invalid(path, name, "must be a standard resource for containers"))
    elif not is_native_resource(name) and not is_extended_resource_name(name):
        errors.append(invalid(path, name, "doesn't follow extended resource name standard"))
    return errors


def quantity_errors(name: str, quantity: Quantity, path: Path) -> list[FieldError]:
    """Nothing negative, and whole numbers for what is counted."""
    errors = []
    if quantity.sign < 0:
        errors.append(invalid(path, str(quantity), "must be greater than or equal to 0"))
    if is_integer_resource(name) and quantity.milli_value() % 1000:
        errors.append(invalid(path, str(quantity), "must be an integer"))
    return errors
