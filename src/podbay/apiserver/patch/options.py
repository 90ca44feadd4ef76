"""The options of writes, checked: dry run, field manager, field validation, force, propagation policy.

Source: k8s.io/apimachinery/pkg/apis/meta/v1/validation (ValidateCreateOptions and its siblings).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from podbay.apiserver import field, status
from podbay.apiserver.field import FieldError, Path
from podbay.errors import ApiError

__all__ = [
    "MAX_FIELD_MANAGER",
    "WriteOptionsLike",
    "invalid_options",
    "validate_delete_options",
    "validate_field_manager",
    "validate_patch_options",
    "validate_write_options",
]

MAX_FIELD_MANAGER = 128
"""Bytes."""
_VALIDATIONS = ("", "Ignore", "Strict", "Warn")
_PROPAGATIONS = ("Foreground", "Background", "Orphan")


class WriteOptionsLike(Protocol):
    """CreateOptions, UpdateOptions and PatchOptions as far as they are checked."""

    @property
    def dry_run(self) -> Sequence[str]: ...
    @property
    def field_manager(self) -> str: ...
    @property
    def field_validation(self) -> str: ...
    @property
    def force(self) -> bool | None: ...


def invalid_options(kind: str, errors: Sequence[FieldError]) -> ApiError:
    """The 422 for bad options; kind is "CreateOptions", "PatchOptions" and so on."""
    return status.invalid("meta.k8s.io", kind, "", errors)


def validate_write_options(options: WriteOptionsLike) -> list[FieldError]:
    """What is wrong with CreateOptions or UpdateOptions."""
    errors = validate_field_manager(options.field_manager, Path("fieldManager"))
    errors += _validate_dry_run(options.dry_run)
    if options.field_validation not in _VALIDATIONS:
        errors.append(field.not_supported(Path("fieldValidation"), options.field_validation, _VALIDATIONS))
    return errors


def validate_patch_options(options: WriteOptionsLike, *, apply: bool) -> list[FieldError]:
    """What is wrong with PatchOptions; apply says that the patch is a server-side apply."""
    errors = []
    if apply and not options.field_manager:
        errors.append(field.required(Path("fieldManager"), "is required for apply patch"))
    if not apply and options.force is not None:
        errors.append(field.forbidden(Path("force"), "may not be specified for non-apply patch"))
    return errors + validate_write_options(options)


def validate_delete_options(options: Mapping[str, Any]) -> list[FieldError]:
    """What is wrong with a DeleteOptions body; not for its preconditions, which are met or not."""
    errors = []
    policy, orphan = options.get("propagationPolicy"), options.get("orphanDependents")
    path = Path("propagationPolicy")
    if policy is not None and orphan is not None:
        text = "orphanDependents and deletionPropagation cannot be both set"
        errors.append(field.invalid(path, policy, text))
    if policy is not None and policy not in _PROPAGATIONS:
        errors.append(field.not_supported(path, policy, (*_PROPAGATIONS, "nil")))
    errors += _validate_dry_run(options.get("dryRun") or ())
    if options.get("ignoreStoreReadErrorWithClusterBreakingPotential"):
        errors += _validate_ignore_read_error(options)
    return errors


def _validate_ignore_read_error(options: Mapping[str, Any]) -> list[FieldError]:
    path = Path("ignoreStoreReadErrorWithClusterBreakingPotential")
    return [
        field.invalid(path, True, f"cannot be set together with .{name}")
        for name in ("dryRun", "propagationPolicy", "orphanDependents", "gracePeriodSeconds", "preconditions")
        if options.get(name) not in (None, [])
    ]


def validate_field_manager(manager: str, path: Path) -> list[FieldError]:
    """At most 128 bytes, printable characters only."""
    errors = []
    if len(manager.encode()) > MAX_FIELD_MANAGER:
        errors.append(field.too_long(path, MAX_FIELD_MANAGER))
    position = 0
    for char in manager:
        if not char.isprintable():
            text = f"invalid character U+{ord(char):04X} (at position {position})"
            errors.append(field.invalid(path, manager, text))
        position += len(char.encode())
    return errors


def _validate_dry_run(values: Sequence[str]) -> list[FieldError]:
    if all(value == "All" for value in values):
        return []
    return [field.not_supported(Path("dryRun"), list(values), ("All",))]
