"""What is the same for the metadata of every kind: system fields, generated names, validation.

Kind-specific name rules come from the strategy. Source: k8s.io/apimachinery/pkg/api/validation/objectmeta.go,
k8s.io/apiserver/pkg/registry/rest/{create,update,meta}.go and pkg/storage/names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from podbay.apiserver.field import FieldError, Path, forbidden, invalid, required, too_long
from podbay.apiserver.registry import ResourceType
from podbay.objects.equality import semantically_equal
from podbay.objects.meta import Object, metadata_of
from podbay.objects.names import (
    dns1123_label_errors,
    label_value_errors,
    path_segment_name_errors,
    path_segment_prefix_errors,
    qualified_name_errors,
)
from podbay.objects.quoting import go_quote

__all__ = [
    "field_manager_errors",
    "fill_for_create",
    "generate_name",
    "immutable",
    "update_errors",
    "validate_annotations",
    "validate_labels",
    "validate_metadata",
    "validate_metadata_update",
]

_ANNOTATIONS_LIMIT = 256 * 1024
_NAME_LIMIT = 63
_MANAGER_LIMIT = 128
_SUBRESOURCE_LIMIT = 256
_METADATA = Path("metadata")

_STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})
_GROUPS_WITH_FREE_FINALIZERS = frozenset(
    {"coordination.k8s.io", "node.k8s.io", "admissionregistration.k8s.io"}
)
"""Groups whose validation accepts unqualified finalizer names (they call the generic check only)."""

_NameCheck = Callable[[str, bool], Sequence[str]]


def fill_for_create(obj: Object, *, uid: str, now: str, namespace: str) -> None:
    """Set the system's fields of a new object and drop what only the system may set. now is an RFC 3339 time."""
    metadata = metadata_of(obj)
    for key in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
        metadata.pop(key, None)
    metadata["creationTimestamp"] = now
    metadata["uid"] = uid
    if namespace:
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)


def generate_name(prefix: str, suffix: str) -> str:
    """The name for `generateName: prefix`, at most 63 characters; suffix is the random part."""
    return prefix[: _NAME_LIMIT - len(suffix)] + suffix


def immutable(new: Any, old: Any, path: Path) -> list[FieldError]:
    """The error when a field that never changes has changed; absent and empty count as equal."""
    if semantically_equal(new, old):
        return []
    return [invalid(path, new, "field is immutable")]


def validate_metadata(resource_type: ResourceType, obj: Object) -> list[FieldError]:
    """Everything wrong with the metadata of a new object, names by the rule of its kind."""
    strategy = resource_type.strategy

    def check(name: str, prefix: bool) -> Sequence[str]:
        return strategy.validate_name(name, prefix=prefix)

    errors = _validate(resource_type, obj, check)
    if resource_type.gvr.group not in _GROUPS_WITH_FREE_FINALIZERS:
        errors += _finalizer_standing_errors(metadata_of(obj))
    return errors


def validate_metadata_update(obj: Object, old: Object) -> list[FieldError]:
    """Everything wrong with a change of metadata (Go: ValidateObjectMetaAccessorUpdate)."""
    new_meta, old_meta = metadata_of(obj), metadata_of(old)
    errors: list[FieldError] = []
    if old_meta.get("deletionTimestamp"):
        added = sorted(set(new_meta.get("finalizers") or ()) - set(old_meta.get("finalizers") or ()))
        if added:
            listed = ", ".join(go_quote(name) for name in added)
            message = "no new finalizers can be added if the object is being deleted, found new finalizers"
            errors.append(forbidden(_METADATA.child("finalizers"), f"{message} []string{{{listed}}}"))
    if not new_meta.get("resourceVersion"):
        errors.append(invalid(_METADATA.child("resourceVersion"), "", "must be specified for an update"))
    if (new_meta.get("generation") or 0) < (old_meta.get("generation") or 0):
        errors.append(
            invalid(_METADATA.child("generation"), new_meta.get("generation") or 0, "must not be decremented")
        )
    for key in ("name", "namespace", "uid"):
        errors += immutable(new_meta.get(key) or "", old_meta.get(key) or "", _METADATA.child(key))
    for key in ("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
        errors += immutable(new_meta.get(key), old_meta.get(key), _METADATA.child(key))
    errors += validate_labels(new_meta.get("labels"), _METADATA.child("labels"))
    errors += validate_annotations(new_meta.get("annotations"), _METADATA.child("annotations"))
    errors += _owner_errors(new_meta.get("ownerReferences") or [], _METADATA.child("ownerReferences"))
    errors += _managed_fields_errors(new_meta.get("managedFields") or [], _METADATA.child("managedFields"))
    return errors


def update_errors(
    resource_type: ResourceType, obj: Object, old: Object, *, whole: int = 0, change: int = 1
) -> list[FieldError]:
    """Metadata errors of an update, each as often as the real server reports it.

    Every update checks the metadata as such and its change; most kinds repeat one or both in their own
    validation: `whole` and `change` say how often.
    """
    changed = validate_metadata_update(obj, old)
    errors = _validate(resource_type, obj, _path_segment_errors) + changed
    own = changed
    if resource_type.gvr.group not in _GROUPS_WITH_FREE_FINALIZERS:
        own = changed + _finalizer_standing_errors(metadata_of(obj))
    errors += own * change
    if whole:
        errors += validate_metadata(resource_type, obj) * whole
    return errors


def _path_segment_errors(name: str, prefix: bool) -> Sequence[str]:
    return path_segment_prefix_errors(name) if prefix else path_segment_name_errors(name)


def _validate(resource_type: ResourceType, obj: Object, check_name: _NameCheck) -> list[FieldError]:
    metadata = metadata_of(obj)
    errors = _name_errors(metadata, check_name) + _namespace_errors(resource_type, metadata)
    generation = metadata.get("generation") or 0
    if generation < 0:
        errors.append(
            invalid(_METADATA.child("generation"), generation, "must be greater than or equal to 0")
        )
    errors += validate_labels(metadata.get("labels"), _METADATA.child("labels"))
    errors += validate_annotations(metadata.get("annotations"), _METADATA.child("annotations"))
    errors += _owner_errors(metadata.get("ownerReferences") or [], _METADATA.child("ownerReferences"))
    errors += _finalizer_errors(metadata.get("finalizers") or [], _METADATA.child("finalizers"))
    errors += _managed_fields_errors(metadata.get("managedFields") or [], _METADATA.child("managedFields"))
    return errors


def _name_errors(metadata: Mapping[str, Any], check_name: _NameCheck) -> list[FieldError]:
    prefix = metadata.get("generateName") or ""
    name = metadata.get("name") or ""
    errors: list[FieldError] = []
    if prefix:
        path = _METADATA.child("generateName")
        errors += [invalid(path, prefix, message) for message in check_name(prefix, True)]
    path = _METADATA.child("name")
    if not name:
        errors.append(required(path, "name or generateName is required"))
    else:
        errors += [invalid(path, name, message) for message in check_name(name, False)]
    return errors


def _namespace_errors(resource_type: ResourceType, metadata: Mapping[str, Any]) -> list[FieldError]:
    path = _METADATA.child("namespace")
    namespace = metadata.get("namespace") or ""
    if not resource_type.namespaced:
        return [forbidden(path, "not allowed on this type")] if namespace else []
    if not namespace:
        return [required(path)]
    return [invalid(path, namespace, message) for message in dns1123_label_errors(namespace)]


def validate_labels(labels: Mapping[str, str] | None, path: Path) -> list[FieldError]:
    """Every label key and value; all errors are at path itself, as the API reports them."""
    errors: list[FieldError] = []
    for key, value in (labels or {}).items():
        errors += [invalid(path, key, message) for message in qualified_name_errors(key)]
        errors += [invalid(path, value, message) for message in label_value_errors(value)]
    return errors


def validate_annotations(annotations: Mapping[str, str] | None, path: Path) -> list[FieldError]:
    """Annotation keys (their case does not matter) and the total size, at most 256 KiB."""
    errors: list[FieldError] = []
    total = 0
    for key, value in (annotations or {}).items():
        errors += [invalid(path, key, message) for message in qualified_name_errors(key.lower())]
        total += len(key.encode()) + len(value.encode())
    if total > _ANNOTATIONS_LIMIT:
        errors.append(too_long(path, _ANNOTATIONS_LIMIT))
    return errors


def _owner_errors(owners: Sequence[Mapping[str, Any]], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    controller = ""
    for owner in owners:
        errors += _owner_reference_errors(owner, path)
        if not owner.get("controller"):
            continue
        current = f"{owner.get('kind') or ''}/{owner.get('name') or ''}"
        if controller:
            message = (
                'Only one reference can have Controller set to true. Found "true" in references for '
                f"{controller} and {current}"
            )
            errors.append(invalid(path, [_ordered_owner(o) for o in owners], message))
        else:
            controller = current
    return errors


def _owner_reference_errors(owner: Mapping[str, Any], path: Path) -> list[FieldError]:
    api_version = owner.get("apiVersion") or ""
    # More than one slash makes no group and version at all.
    version = api_version.rpartition("/")[2] if api_version.count("/") <= 1 else ""
    errors: list[FieldError] = []
    if not version:
        errors.append(invalid(path.child("apiVersion"), api_version, "version must not be empty"))
    for key in ("kind", "name", "uid"):
        if not owner.get(key):
            errors.append(invalid(path.child(key), "", "must not be empty"))
    if api_version == "v1" and owner.get("kind") == "Event":
        message = "/v1, Kind=Event is disallowed from being an owner"
        errors.append(invalid(path, _ordered_owner(owner), message))
    return errors


def _ordered_owner(owner: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {key: owner.get(key) or "" for key in ("apiVersion", "kind", "name", "uid")}
    shown.update({k: owner[k] for k in ("controller", "blockOwnerDeletion") if owner.get(k) is not None})
    return shown


def _finalizer_errors(finalizers: Sequence[str], path: Path) -> list[FieldError]:
    errors = [
        invalid(path, finalizer, message)
        for finalizer in finalizers
        for message in qualified_name_errors(finalizer)
    ]
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        message = "finalizer orphan and foregroundDeletion cannot be both set"
        errors.append(invalid(path, list(finalizers), message))
    return errors


def _finalizer_standing_errors(metadata: Mapping[str, Any]) -> list[FieldError]:
    """A finalizer is one of the standard ones or belongs to a domain (Go: validateKubeFinalizerName)."""
    path = _METADATA.child("finalizers")
    message = "name is neither a standard finalizer name nor is it fully qualified"
    return [
        invalid(path.index(i), finalizer, message)
        for i, finalizer in enumerate(metadata.get("finalizers") or ())
        if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS
    ]


def _managed_fields_errors(entries: Sequence[Mapping[str, Any]], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, entry in enumerate(entries):
        at = path.index(i)
        operation = entry.get("operation") or ""
        if operation not in ("Apply", "Update"):
            errors.append(invalid(at.child("operation"), operation, "must be `Apply` or `Update`"))
        fields_type = entry.get("fieldsType") or ""
        if fields_type not in ("", "FieldsV1"):
            errors.append(invalid(at.child("fieldsType"), fields_type, "must be `FieldsV1`"))
        errors += field_manager_errors(entry.get("manager") or "", at.child("manager"))
        if len((entry.get("subresource") or "").encode()) > _SUBRESOURCE_LIMIT:
            errors.append(too_long(at.child("subresource"), _SUBRESOURCE_LIMIT))
    return errors


def field_manager_errors(manager: str, path: Path) -> list[FieldError]:
    """A field manager's name: at most 128 bytes, all printable."""
    errors: list[FieldError] = []
    if len(manager.encode()) > _MANAGER_LIMIT:
        errors.append(too_long(path, _MANAGER_LIMIT))
    position = 0
    for ch in manager:
        if not ch.isprintable():
            errors.append(
                invalid(path, manager, f"invalid character U+{ord(ch):04X} (at position {position})")
            )
        position += len(ch.encode())
    return errors
