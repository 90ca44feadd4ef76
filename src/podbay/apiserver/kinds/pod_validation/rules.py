"""The small rules that Pod validation is made of: a name, a number, a path or a set of values turned into field errors.

Not for rules of one field (they live with their topic). Source: pkg/apis/core/validation/validation.go and
k8s.io/apimachinery/pkg/apis/meta/v1/validation.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from podbay.apiserver.field import FieldError, Path, forbidden, invalid, not_supported, required
from podbay.objects import names

__all__ = [
    "MAX_INT32",
    "absolute_path",
    "all_containers",
    "descending_path",
    "each",
    "label_key",
    "label_selector",
    "labels",
    "local_path",
    "name",
    "no_backsteps",
    "nonnegative",
    "one_of",
    "port",
    "positive",
    "qualified_name",
    "required_text",
    "short_name",
    "sorted_distinct",
]

MAX_INT32 = 2**31 - 1


def each(path: Path, value: Any, messages: Iterable[str]) -> list[FieldError]:
    """One "Invalid value" per message."""
    return [invalid(path, value, message) for message in messages]


def name(path: Path, value: str) -> list[FieldError]:
    """An RFC 1123 subdomain."""
    return each(path, value, names.dns1123_subdomain_errors(value))


def short_name(path: Path, value: str) -> list[FieldError]:
    """An RFC 1123 label."""
    return each(path, value, names.dns1123_label_errors(value))


def qualified_name(path: Path, value: str) -> list[FieldError]:
    return each(path, value, names.qualified_name_errors(value))


def label_key(path: Path, value: str) -> list[FieldError]:
    return each(path, value, names.qualified_name_errors(value))


def labels(path: Path, values: Mapping[str, str]) -> list[FieldError]:
    """Keys and values of a label map; every error carries the map's own path."""
    errors = []
    for key, value in values.items():
        errors += label_key(path, key)
        errors += each(path, value, names.label_value_errors(value))
    return errors


def label_selector(path: Path, selector: Mapping[str, Any] | None) -> list[FieldError]:
    """A meta/v1 LabelSelector."""
    if not selector:
        return []
    errors = labels(path.child("matchLabels"), selector.get("matchLabels") or {})
    for i, requirement in enumerate(selector.get("matchExpressions") or ()):
        errors += _label_requirement(path.child("matchExpressions").index(i), requirement)
    return errors


def _label_requirement(path: Path, requirement: Mapping[str, Any]) -> list[FieldError]:
    errors = []
    operator = requirement.get("operator") or ""
    values = requirement.get("values") or []
    if operator in ("In", "NotIn"):
        if not values:
            errors.append(
                required(path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'")
            )
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            errors.append(
                forbidden(
                    path.child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                )
            )
    else:
        errors.append(invalid(path.child("operator"), operator, "not a valid selector operator"))
    errors += label_key(path.child("key"), requirement.get("key") or "")
    for i, value in enumerate(values):
        errors += each(path.child("values").index(i), value, names.label_value_errors(value))
    return errors


def required_text(path: Path, value: str | None) -> list[FieldError]:
    return [] if value else [required(path)]


def nonnegative(path: Path, value: int | None) -> list[FieldError]:
    return [invalid(path, value, "must be greater than or equal to 0")] if (value or 0) < 0 else []


def positive(path: Path, value: int | None) -> list[FieldError]:
    return [invalid(path, value or 0, "must be greater than zero")] if (value or 0) <= 0 else []


def one_of(path: Path, value: str | None, supported: Sequence[str]) -> list[FieldError]:
    """An optional enumerated field; absent passes, the empty string does not."""
    return [] if value is None or value in supported else [not_supported(path, value, supported)]


def port(path: Path, value: int | str | None) -> list[FieldError]:
    """A port number, or the name of one."""
    if isinstance(value, str):
        return each(path, value, names.port_name_errors(value))
    return each(path, value or 0, names.port_number_errors(value or 0))


def absolute_path(value: str) -> bool:
    return posixpath.isabs(value)


def no_backsteps(path: Path, value: str) -> list[FieldError]:
    return [invalid(path, value, "must not contain '..'")] if ".." in value.split("/") else []


def descending_path(path: Path, value: str) -> list[FieldError]:
    """A relative path without '..' elements."""
    errors = [invalid(path, value, "must be a relative path")] if absolute_path(value) else []
    return errors + no_backsteps(path, value)


def local_path(path: Path, value: str) -> list[FieldError]:
    """A relative path that neither contains '..' elements nor starts with two dots (the kubelet uses such names)."""
    errors = descending_path(path, value)
    if value.startswith("..") and not value.startswith("../"):
        errors.append(invalid(path, value, "must not start with '..'"))
    return errors


def sorted_distinct(values: Iterable[str]) -> list[str]:
    return sorted(set(values))


def all_containers(spec: Mapping[str, Any], path: Path) -> list[tuple[Mapping[str, Any], Path]]:
    """Every container with its path: init containers, containers, ephemeral containers, in this order."""
    return [
        (container, path.child(field).index(i))
        for field in ("initContainers", "containers", "ephemeralContainers")
        for i, container in enumerate(spec.get(field) or ())
    ]
