"""Field paths and field errors, printed exactly as kube-apiserver prints them.

Source: k8s.io/apimachinery/pkg/util/validation/field. Validation functions return lists of FieldError;
`status.invalid` turns a list into the 422 answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from podbay.objects.quoting import go_quote

__all__ = [
    "FieldError",
    "Path",
    "aggregate",
    "duplicate",
    "forbidden",
    "go_quote",
    "internal",
    "invalid",
    "not_found",
    "not_supported",
    "required",
    "too_few",
    "too_long",
    "too_many",
    "type_invalid",
]

_OMIT = object()
"""Marks an error that prints no bad value (Go: omitValue)."""

_SIMPLE = {
    "FieldValueRequired": "Required value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueTooLong": "Too long",
    "FieldValueTooShort": "Too short",
    "InternalError": "Internal error",
}
_WITH_VALUE = {
    "FieldValueInvalid": "Invalid value",
    "FieldValueTypeInvalid": "Invalid value",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueNotFound": "Not found",
    "FieldValueDuplicate": "Duplicate value",
    "FieldValueTooMany": "Too many",
    "FieldValueTooFew": "Too few",
}


@dataclass(frozen=True, slots=True)
class Path:
    """An immutable field path: Path("spec").child("containers").index(0) prints spec.containers[0]."""

    text: str = ""

    def child(self, *names: str) -> Path:
        joined = ".".join(names)
        return Path(f"{self.text}.{joined}" if self.text else joined)

    def index(self, i: int) -> Path:
        return Path(f"{self.text}[{i}]")

    def key(self, key: str) -> Path:
        return Path(f"{self.text}[{key}]")

    def __str__(self) -> str:
        return self.text or "<nil>"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One cause of a 422: type is the Status cause's reason, field the printed path."""

    type: str
    field: str
    value: Any = _OMIT
    detail: str = ""

    def body(self) -> str:
        """The message without the field path (Go: ErrorBody)."""
        simple = _SIMPLE.get(self.type)
        if simple is not None:
            text = simple
        else:
            text = _WITH_VALUE[self.type]
            if self.value is not _OMIT:
                text = f"{text}: {_print_value(self.value)}"
        return f"{text}: {self.detail}" if self.detail else text

    def __str__(self) -> str:
        return f"{self.field}: {self.body()}"

    def cause(self) -> dict[str, str]:
        """The entry of `details.causes`."""
        cause = {"reason": self.type, "message": self.body()}
        if self.field:
            cause["field"] = self.field
        return cause


def _print_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return go_quote(value)
    if isinstance(value, int | float):
        return str(value)
    return orjson.dumps(value).decode()


def required(path: Path, detail: str = "") -> FieldError:
    return FieldError("FieldValueRequired", str(path), "", detail)


def invalid(path: Path, value: Any, detail: str) -> FieldError:
    return FieldError("FieldValueInvalid", str(path), value, detail)


def type_invalid(path: Path, value: Any, detail: str) -> FieldError:
    return FieldError("FieldValueTypeInvalid", str(path), value, detail)


def forbidden(path: Path, detail: str) -> FieldError:
    return FieldError("FieldValueForbidden", str(path), "", detail)


def duplicate(path: Path, value: Any) -> FieldError:
    return FieldError("FieldValueDuplicate", str(path), value)


def not_found(path: Path, value: Any) -> FieldError:
    return FieldError("FieldValueNotFound", str(path), value)


def not_supported(path: Path, value: Any, supported: Iterable[str] = ()) -> FieldError:
    """An enumerated field has an unknown value; the supported ones are listed in the given order."""
    listed = ", ".join(go_quote(s) for s in supported)
    return FieldError(
        "FieldValueNotSupported", str(path), value, f"supported values: {listed}" if listed else ""
    )


def too_long(path: Path, maximum: int, *, unit: str = "byte") -> FieldError:
    """A string is over its maximum length (Go: TooLong, or TooLongCharacters with unit "character").

    The value itself is never shown. A negative maximum leaves the number out.
    """
    if maximum < 0:
        detail = "value is too long"
    else:
        detail = f"may not be more than {maximum} {unit}{'' if maximum == 1 else 's'}"
    return FieldError("FieldValueTooLong", str(path), "", detail)


def too_many(path: Path, actual: int, maximum: int) -> FieldError:
    value: Any = actual if actual >= 0 else _OMIT
    unit = "item" if maximum == 1 else "items"
    return FieldError(
        "FieldValueTooMany",
        str(path),
        value,
        f"must have at most {maximum} {unit}" if maximum >= 0 else "has too many items",
    )


def too_few(path: Path, actual: int, minimum: int) -> FieldError:
    value: Any = actual if actual >= 0 else _OMIT
    unit = "item" if minimum == 1 else "items"
    return FieldError(
        "FieldValueTooFew",
        str(path),
        value,
        f"must have at least {minimum} {unit}" if minimum >= 0 else "has too few items",
    )


def internal(path: Path, message: str) -> FieldError:
    return FieldError("InternalError", str(path), _OMIT, message)


def aggregate(errors: Sequence[FieldError]) -> str:
    """Several errors as one message (Go: ErrorList.ToAggregate): bare for one, bracketed for more, repeats dropped."""
    seen: dict[str, None] = {}
    for error in errors:
        seen.setdefault(str(error))
    messages = list(seen)
    return messages[0] if len(messages) == 1 else "[" + ", ".join(messages) + "]"
