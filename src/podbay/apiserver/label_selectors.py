"""Validation of label selectors that stand inside objects, with field paths.

Parsing and matching are in objects/selectors.py. Source: k8s.io/apimachinery/pkg/apis/meta/v1/validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podbay.apiserver.field import FieldError, Path, forbidden, invalid, required
from podbay.apiserver.metadata import validate_labels
from podbay.objects.names import label_value_errors, qualified_name_errors

__all__ = ["validate_label_selector"]


def validate_label_selector(
    selector: Mapping[str, Any] | None, path: Path, *, allow_invalid_values: bool = False
) -> list[FieldError]:
    """Everything wrong with a `metav1.LabelSelector`; None is valid."""
    if selector is None:
        return []
    errors = validate_labels(selector.get("matchLabels"), path.child("matchLabels"))
    for i, expression in enumerate(selector.get("matchExpressions") or ()):
        at = path.child("matchExpressions").index(i)
        errors += _requirement_errors(expression, at, allow_invalid_values=allow_invalid_values)
    return errors


def _requirement_errors(
    expression: Mapping[str, Any], path: Path, *, allow_invalid_values: bool
) -> list[FieldError]:
    operator = expression.get("operator") or ""
    values = expression.get("values") or []
    key = expression.get("key") or ""
    errors: list[FieldError] = []
    if operator in ("In", "NotIn"):
        if not values:
            detail = "must be specified when `operator` is 'In' or 'NotIn'"
            errors.append(required(path.child("values"), detail))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(forbidden(path.child("values"), detail))
    else:
        errors.append(invalid(path.child("operator"), operator, "not a valid selector operator"))
    errors += [invalid(path.child("key"), key, message) for message in qualified_name_errors(key)]
    if not allow_invalid_values:
        for i, value in enumerate(values):
            at = path.child("values").index(i)
            errors += [invalid(at, value, message) for message in label_value_errors(value)]
    return errors
