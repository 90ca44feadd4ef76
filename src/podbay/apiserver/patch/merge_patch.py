"""JSON merge patch (RFC 7386).

Sources: the RFC; gopkg.in/evanphx/json-patch.v4 `MergePatch` as called by
k8s.io/apiserver/pkg/endpoints/handlers/patch.go. Where a subtree has nothing to merge into, the library also drops
nulls from lists inside it; kept, since what is stored depends on it.
"""

from __future__ import annotations

from typing import Any

from podbay.apiserver import status
from podbay.apiserver.patch.govalues import clone, json_kind, read_json
from podbay.objects.meta import Object

__all__ = ["apply_merge_patch", "create_merge_patch"]


def apply_merge_patch(doc: Object, patch: bytes | Any, *, strict: bool = True) -> Object:
    """Merge patch into a copy of doc and return it.

    strict is true unless the request said `fieldValidation=Ignore`. Raises ApiError 400 when patch is no object.
    """
    try:
        parsed = read_json(patch)
    except ValueError as error:
        words = f"error decoding patch: {error}" if strict else "Invalid JSON Patch"
        raise status.bad_request(words) from None
    if not isinstance(parsed, dict):
        if parsed is None or not strict:
            raise status.bad_request("Invalid JSON Patch")
        raise status.bad_request(
            f"error decoding patch: json: cannot unmarshal {json_kind(parsed)} "
            "into Go value of type map[string]interface {}"
        )
    merged = clone(doc)
    _merge(merged, clone(parsed))
    return merged  # type: ignore[no-any-return]


def create_merge_patch(old: Object, new: Object) -> Object:
    """The smallest merge patch that turns old into new. A null inside new cannot be expressed and is lost."""
    patch: Object = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            inner = create_merge_patch(before, value)
            if inner:
                patch[key] = inner
        elif key not in old or before != value or type(before) is not type(value):
            patch[key] = clone(value)
    return patch


def _merge(doc: Object, patch: Object) -> None:
    for key, value in patch.items():
        if value is None:
            doc.pop(key, None)
            continue
        current = doc.get(key)
        if isinstance(current, dict) and isinstance(value, dict):
            _merge(current, value)
        else:
            doc[key] = value if isinstance(current, dict) else _without_nulls(value)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(v) for v in value if v is not None]
    return value
