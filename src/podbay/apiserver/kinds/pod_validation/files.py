"""Files that a volume makes out of keys: their paths and modes.

Source: validateKeyToPath and fileModeErrorMsg in pkg/apis/core/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podbay.apiserver.field import FieldError, Path, invalid
from podbay.apiserver.kinds.pod_validation import rules

__all__ = ["file_mode_errors", "item_errors", "items_errors"]


def file_mode_errors(path: Path, mode: int | None) -> list[FieldError]:
    """Permission bits, decimal on the wire (420 is 0644)."""
    if mode is None or 0 <= mode <= 0o777:
        return []
    return [invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive")]


def item_errors(path: Path, item: Mapping[str, Any]) -> list[FieldError]:
    """One KeyToPath."""
    errors = rules.required_text(path.child("key"), item.get("key"))
    errors += rules.required_text(path.child("path"), item.get("path"))
    errors += rules.local_path(path.child("path"), item.get("path") or "")
    return errors + file_mode_errors(path.child("mode"), item.get("mode"))


def items_errors(path: Path, items: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    """`items` of a secret or configMap volume."""
    return [error for i, item in enumerate(items) for error in item_errors(path.index(i), item)]
