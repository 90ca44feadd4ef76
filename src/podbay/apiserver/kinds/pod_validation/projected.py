"""Projected and downward API volumes.

Source: validateProjectionSources, validateDownwardAPIVolumeFile in pkg/apis/core/validation/validation.go. The
clusterTrustBundle and podCertificate sources are off by default in 1.36 and are dropped before validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podbay.apiserver.field import FieldError, Path, forbidden, invalid, required
from podbay.apiserver.kinds.pod_validation import rules
from podbay.apiserver.kinds.pod_validation.env import field_ref_errors, resource_field_ref_errors
from podbay.apiserver.kinds.pod_validation.files import file_mode_errors, item_errors

__all__ = ["downward_api_errors", "projected_errors"]

_VOLUME_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.labels",
    "metadata.annotations",
    "metadata.uid",
)
_SHORTEST_TOKEN = 10 * 60
_LONGEST_TOKEN = 1 << 32
_CONFLICT = "conflicting duplicate paths"


def downward_api_errors(path: Path, source: Mapping[str, Any]) -> list[FieldError]:
    """A downwardAPI volume. Errors of its items carry the path of the source, without an index."""
    errors = file_mode_errors(path.child("defaultMode"), source.get("defaultMode"))
    for item in source.get("items") or ():
        errors += _downward_file_errors(path, item)
    return errors


def _downward_file_errors(path: Path, item: Mapping[str, Any]) -> list[FieldError]:
    errors = rules.required_text(path.child("path"), item.get("path"))
    errors += rules.local_path(path.child("path"), item.get("path") or "")
    field_ref, resource_ref = item.get("fieldRef"), item.get("resourceFieldRef")
    if field_ref is not None:
        errors += field_ref_errors(path.child("fieldRef"), field_ref, _VOLUME_FIELDS)
        if resource_ref is not None:
            words = "fieldRef and resourceFieldRef can not be specified simultaneously"
            errors.append(invalid(path, "resource", words))
    elif resource_ref is not None:
        errors += resource_field_ref_errors(path.child("resourceFieldRef"), resource_ref, in_volume=True)
    else:
        errors.append(required(path, "one of fieldRef and resourceFieldRef is required"))
    return errors + file_mode_errors(path.child("mode"), item.get("mode"))


def projected_errors(path: Path, volume: Mapping[str, Any]) -> list[FieldError]:
    """A projected volume."""
    errors = file_mode_errors(path.child("defaultMode"), volume.get("defaultMode"))
    taken: set[str] = set()
    for i, source in enumerate(volume.get("sources") or ()):
        at = path.child("sources").index(i)
        errors += _projection_errors(path, at, source, taken)
        if sum(source.get(field) is not None for field in _PROJECTIONS) > 1:
            errors.append(forbidden(at, "may not specify more than 1 volume type per source"))
    return errors


_PROJECTIONS = ("secret", "configMap", "downwardAPI", "serviceAccountToken")


def _projection_errors(
    volume_path: Path, path: Path, source: Mapping[str, Any], taken: set[str]
) -> list[FieldError]:
    errors = []
    for field in ("secret", "configMap"):
        named = source.get(field)
        if named is None:
            continue
        at = path.child(field)
        name = named.get("name") or ""
        errors += rules.required_text(at.child("name"), name)
        for i, item in enumerate(named.get("items") or ()):
            errors += item_errors(at.child("items").index(i), item)
            errors += _take(volume_path, item.get("path") or "", taken, shown=name)
    downward = source.get("downwardAPI")
    if downward is not None:
        for item in downward.get("items") or ():
            errors += _downward_file_errors(path.child("downwardAPI"), item)
            item_path = item.get("path") or ""
            errors += _take(volume_path, item_path, taken, shown=item_path)
    token = source.get("serviceAccountToken")
    if token is not None:
        errors += _token_errors(volume_path, path.child("serviceAccountToken"), token)
    return errors


def _take(path: Path, item_path: str, taken: set[str], *, shown: str) -> list[FieldError]:
    if not item_path:
        return []
    if item_path in taken:
        return [invalid(path, shown, _CONFLICT)]
    taken.add(item_path)
    return []


def _token_errors(volume_path: Path, path: Path, token: Mapping[str, Any]) -> list[FieldError]:
    errors = []
    seconds = token.get("expirationSeconds")
    at = path.child("expirationSeconds")
    if seconds is None:
        errors.append(required(at))
    elif seconds < _SHORTEST_TOKEN:
        errors.append(invalid(at, seconds, "may not specify a duration less than 10 minutes"))
    elif seconds > _LONGEST_TOKEN:
        errors.append(invalid(at, seconds, "may not specify a duration larger than 2^32 seconds"))
    token_path = token.get("path") or ""
    where = volume_path.child("path")
    if not token_path:
        return [*errors, required(where)]
    return errors + rules.local_path(where, token_path)
