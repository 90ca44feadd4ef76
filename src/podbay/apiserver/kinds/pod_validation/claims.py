"""The claim template of a generic ephemeral volume.

Not for the PersistentVolumeClaim kind. Source: ValidatePersistentVolumeClaimTemplate in
pkg/apis/core/validation/validation.go, without data sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podbay.apiserver.field import FieldError, Path, forbidden, invalid, not_supported, required
from podbay.apiserver.kinds.pod_validation import rules
from podbay.objects import names
from podbay.objects.quantity import Quantity

__all__ = ["claim_template_errors"]

_ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_VOLUME_MODES = ("Block", "Filesystem")
_METADATA_FIELDS = (
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uID",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "finalizers",
    "managedFields",
)
"""Every field of ObjectMeta but labels and annotations, as the API prints them in this check."""


def claim_template_errors(path: Path, template: Mapping[str, Any]) -> list[FieldError]:
    """`volumeClaimTemplate`: only labels and annotations in its metadata, and a spec that stands by itself."""
    metadata = template.get("metadata") or {}
    at = path.child("metadata")
    errors = []
    for key in metadata.get("annotations") or {}:
        errors += rules.each(at.child("annotations"), key, names.qualified_name_errors(key.lower()))
    errors += rules.labels(at.child("labels"), metadata.get("labels") or {})
    for field in _METADATA_FIELDS:
        if metadata.get("uid" if field == "uID" else field):
            errors.append(forbidden(at.child(field), "cannot be set"))
    return errors + _spec_errors(path.child("spec"), template.get("spec") or {})


def _spec_errors(path: Path, spec: Mapping[str, Any]) -> list[FieldError]:
    modes = spec.get("accessModes") or []
    errors = []
    if not modes:
        errors.append(required(path.child("accessModes"), "at least 1 access mode is required"))
    errors += rules.label_selector(path.child("selector"), spec.get("selector"))
    for mode in modes:
        if mode not in _ACCESS_MODES:
            errors.append(not_supported(path.child("accessModes"), mode, _ACCESS_MODES))
    if "ReadWriteOncePod" in modes and any(m in _ACCESS_MODES and m != "ReadWriteOncePod" for m in modes):
        words = "may not use ReadWriteOncePod with other access modes"
        errors.append(forbidden(path.child("accessModes"), words))
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    at = path.child("resources").key("storage")
    if storage is None:
        errors.append(required(at))
    elif Quantity.from_json(storage).sign <= 0:
        errors.append(invalid(at, str(Quantity.from_json(storage)), "must be greater than zero"))
    storage_class = spec.get("storageClassName") or ""
    if storage_class:
        errors += rules.name(path.child("storageClassName"), storage_class)
    return errors + rules.one_of(path.child("volumeMode"), spec.get("volumeMode"), _VOLUME_MODES)
