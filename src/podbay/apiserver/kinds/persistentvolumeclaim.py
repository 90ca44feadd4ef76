"""PersistentVolumeClaim: a request for storage. Binding it is a controller's work.

The finalizer kubernetes.io/pvc-protection comes from admission. Source: pkg/registry/core/persistentvolumeclaim,
ValidatePersistentVolumeClaim*, SetDefaults_PersistentVolumeClaim*.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from podbay.apiserver.field import FieldError, Path, forbidden, invalid, not_supported, required
from podbay.apiserver.kinds.pod_internal import diff
from podbay.apiserver.kinds.resource_lists import quantity_errors, round_quantities
from podbay.apiserver.kinds.strategies import StatusStrategy, carry_over, status_view
from podbay.apiserver.label_selectors import validate_label_selector
from podbay.apiserver.metadata import immutable
from podbay.apiserver.registry import Column, ResourceType, Strategy, StrategyContext
from podbay.apiserver.tables import AGE_COLUMN, NAME_COLUMN, age
from podbay.objects.equality import semantically_equal
from podbay.objects.meta import Object, annotations_of
from podbay.objects.names import dns1123_label_errors, dns1123_subdomain_errors
from podbay.objects.quantity import Quantity
from podbay.objects.resource import GVR

__all__ = [
    "PERSISTENT_VOLUME_CLAIM",
    "RESOURCE_TYPES",
    "access_mode_errors",
    "access_modes_text",
    "storage_class_of",
    "volume_mode_errors",
]

_TYPE = "io.k8s.api.core.v1.PersistentVolumeClaim"
_SPEC = Path("spec")
_ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_VOLUME_MODES = ("Block", "Filesystem")
_SHORT_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"


class ClaimStrategy(Strategy):
    """The claim without its status."""

    returns_deleted_object = True
    metadata_repeats = (2, 1)

    def set_defaults(self, obj: Object) -> None:
        _set_defaults(obj)

    def prepare_for_create(self, obj: Object, ctx: StrategyContext) -> None:
        obj["status"] = {"phase": "Pending"}
        _normalize_sources(obj)

    def validate(self, obj: Object, ctx: StrategyContext) -> list[FieldError]:
        return _spec_errors(obj.get("spec") or {})

    def prepare_for_update(self, obj: Object, old: Object, ctx: StrategyContext) -> None:
        carry_over(obj, old, "status")
        _normalize_sources(obj)

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        # The real strategy validates the new claim, and its update validation does so once more.
        return _spec_errors(obj.get("spec") or {}) * 2 + _update_errors(obj, old)


class ClaimStatusStrategy(StatusStrategy):
    """The `status` view."""

    def set_defaults(self, obj: Object) -> None:
        _set_defaults(obj)

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        errors: list[FieldError] = []
        for name, amount in ((obj.get("status") or {}).get("capacity") or {}).items():
            path = Path("status").child("capacity").key(name)
            errors += quantity_errors(name, Quantity.from_json(amount), path)
        return errors


def _set_defaults(obj: Object) -> None:
    spec, status = obj.setdefault("spec", {}), obj.setdefault("status", {})
    if spec.get("volumeMode") is None:
        spec["volumeMode"] = "Filesystem"
    for key in ("requests", "limits"):
        round_quantities((spec.get("resources") or {}).get(key))
    round_quantities(status.get("capacity"))
    if not status.get("phase"):
        status["phase"] = "Pending"


def _normalize_sources(obj: Object) -> None:
    """dataSource and dataSourceRef say the same unless the reference leaves the namespace."""
    spec = obj.get("spec") or {}
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source and not reference:
        spec["dataSourceRef"] = dict(source)
    elif reference and not source and not reference.get("namespace"):
        spec["dataSource"] = {k: v for k, v in reference.items() if k != "namespace"}


def access_mode_errors(modes: Sequence[str], path: Path) -> list[FieldError]:
    """Modes must be known, and ReadWriteOncePod stands alone. Says nothing about an empty list."""
    errors = [not_supported(path, mode, _ACCESS_MODES) for mode in modes if mode not in _ACCESS_MODES]
    others = any(mode in _ACCESS_MODES and mode != "ReadWriteOncePod" for mode in modes)
    if "ReadWriteOncePod" in modes and others:
        errors.append(forbidden(path, "may not use ReadWriteOncePod with other access modes"))
    return errors


def volume_mode_errors(mode: str | None, path: Path) -> list[FieldError]:
    return [] if mode is None or mode in _VOLUME_MODES else [not_supported(path, mode, _VOLUME_MODES)]


def _spec_errors(spec: Mapping[str, Any]) -> list[FieldError]:
    path = _SPEC.child("accessModes")
    modes = spec.get("accessModes") or []
    errors = [] if modes else [required(path, "at least 1 access mode is required")]
    errors += validate_label_selector(spec.get("selector"), _SPEC.child("selector"))
    errors += access_mode_errors(modes, path)
    errors += _storage_errors(spec, _SPEC.child("resources").key("storage"))
    errors += _class_errors(spec.get("storageClassName"), _SPEC.child("storageClassName"))
    errors += volume_mode_errors(spec.get("volumeMode"), _SPEC.child("volumeMode"))
    errors += _sources_errors(spec)
    attributes = spec.get("volumeAttributesClassName")
    return errors + _class_errors(attributes, _SPEC.child("volumeAttributesClassName"))


def _storage_errors(spec: Mapping[str, Any], path: Path) -> list[FieldError]:
    requests = (spec.get("resources") or {}).get("requests") or {}
    if "storage" not in requests:
        return [required(path)]
    quantity = Quantity.from_json(requests["storage"])
    return [] if quantity.sign > 0 else [invalid(path, str(quantity), "must be greater than zero")]


def _class_errors(name: str | None, path: Path) -> list[FieldError]:
    return [invalid(path, name, message) for message in dns1123_subdomain_errors(name)] if name else []


def _sources_errors(spec: Mapping[str, Any]) -> list[FieldError]:
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    errors = _source_errors(source, _SPEC.child("dataSource"))
    errors += _source_errors(reference, _SPEC.child("dataSourceRef"))
    if source is None or reference is None:
        return errors
    keys = ("apiGroup", "kind", "name")
    if reference.get("namespace"):
        words = "may not be specified when dataSourceRef.namespace is specified"
        errors.append(invalid(_SPEC, {}, words))
    elif any((source.get(k) or "") != (reference.get(k) or "") for k in keys):
        # The real server prints the path object as the value, which has no visible fields.
        errors.append(invalid(_SPEC, {}, "must match dataSourceRef"))
    return errors


def _source_errors(source: Mapping[str, Any] | None, path: Path) -> list[FieldError]:
    if source is None:
        return []
    errors = [required(path.child(key)) for key in ("name", "kind") if not source.get(key)]
    group, kind = source.get("apiGroup") or "", source.get("kind") or ""
    if not group and kind != "PersistentVolumeClaim":
        words = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        errors.append(invalid(path, kind, words))
    errors += [invalid(path.child("apiGroup"), group, m) for m in dns1123_subdomain_errors(group) if group]
    namespace = source.get("namespace") or ""
    if namespace:
        errors += [invalid(path.child("namespace"), namespace, m) for m in dns1123_label_errors(namespace)]
    return errors


def _update_errors(obj: Object, old: Object) -> list[FieldError]:
    """A claim's spec is fixed, but for its volume once, its size while bound, and its attributes class."""
    spec, old_spec = obj.get("spec") or {}, old.get("spec") or {}
    compared, old_compared = copy.deepcopy(spec), copy.deepcopy(old_spec)
    if not old_spec.get("volumeName"):
        carry_over(old_compared, compared, "volumeName")
    if old_spec.get("storageClassName") is None and spec.get("storageClassName") is not None:
        beta = annotations_of(old).get(_BETA_CLASS)
        if beta is None or beta == spec["storageClassName"]:
            carry_over(compared, old_compared, "storageClassName")
    if (obj.get("status") or {}).get("phase") == "Bound":
        requests = (compared.get("resources") or {}).get("requests")
        if requests is not None:
            carry_over(requests, (old_spec.get("resources") or {}).get("requests") or {}, "storage")
        if compared.get("volumeAttributesClassName") is not None:
            carry_over(compared, old_compared, "volumeAttributesClassName")
    errors: list[FieldError] = []
    if not semantically_equal(compared, old_compared):
        words = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName "
            "for bound claims\n"
        )
        shown = diff("core/v1.PersistentVolumeClaimSpec", old_compared, compared)
        errors.append(forbidden(_SPEC, words + shown))
    size, old_size = (_storage(s.get("resources"), "requests") for s in (spec, old_spec))
    if size < old_size and size <= _storage(old.get("status"), "capacity"):
        path = _SPEC.child("resources", "requests", "storage")
        errors.append(forbidden(path, "field can not be less than status.capacity"))
    errors += immutable(spec.get("volumeMode"), old_spec.get("volumeMode"), Path("volumeMode"))
    return errors + _attributes_class_errors(spec, old_spec)


def _attributes_class_errors(spec: Mapping[str, Any], old_spec: Mapping[str, Any]) -> list[FieldError]:
    name, old_name = spec.get("volumeAttributesClassName"), old_spec.get("volumeAttributesClassName")
    if old_name is None or name == old_name or name:
        return []
    to = "nil" if name is None else "an empty string"
    path = _SPEC.child("volumeAttributesClassName")
    return [forbidden(path, f"update from non-nil value to {to} is forbidden")]


def _storage(holder: Mapping[str, Any] | None, key: str) -> Quantity:
    return Quantity.from_json(((holder or {}).get(key) or {}).get("storage"))


def access_modes_text(modes: Sequence[str]) -> str:
    """The access modes as `kubectl get` shows them: "RWO,ROX"."""
    order = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")
    return ",".join(_SHORT_MODES[mode] for mode in order if mode in modes)


def storage_class_of(obj: Object) -> str:
    """The class of a claim or a volume; the old annotation wins."""
    return annotations_of(obj).get(_BETA_CLASS) or (obj.get("spec") or {}).get("storageClassName") or ""


def _cells(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    deleted = bool(obj["metadata"].get("deletionTimestamp"))
    bound = bool(spec.get("volumeName"))
    attributes, mode = spec.get("volumeAttributesClassName"), spec.get("volumeMode")
    return [
        obj["metadata"]["name"],
        "Terminating" if deleted else status.get("phase") or "",
        spec.get("volumeName") or "",
        str(_storage(status, "capacity")) if bound else "",
        access_modes_text(status.get("accessModes") or ()) if bound else "",
        storage_class_of(obj),
        "<unset>" if attributes is None else attributes,
        age(obj, now),
        "<unset>" if mode is None else mode,
    ]


PERSISTENT_VOLUME_CLAIM = ResourceType(
    gvr=GVR("", "v1", "persistentvolumeclaims"),
    kind="PersistentVolumeClaim",
    type_name=_TYPE,
    namespaced=True,
    singular="persistentvolumeclaim",
    short_names=("pvc",),
    strategy=ClaimStrategy(),
    subresources=(status_view("PersistentVolumeClaim", _TYPE, ClaimStatusStrategy()),),
    columns=(
        NAME_COLUMN,
        Column("Status", "string", "phase represents the current phase of PersistentVolumeClaim."),
        Column(
            "Volume",
            "string",
            "volumeName is the binding reference to the PersistentVolume backing this claim.",
        ),
        Column("Capacity", "string", "capacity represents the actual resources of the underlying volume."),
        Column(
            "Access Modes",
            "string",
            "accessModes contains the actual access modes the volume backing the PVC has. More info: "
            "https://kubernetes.io/docs/concepts/storage/persistent-volumes#access-modes-1",
        ),
        Column("StorageClass", "string", "StorageClass of the pvc"),
        Column("VolumeAttributesClass", "string", "VolumeAttributesClass of the pvc"),
        AGE_COLUMN,
        Column(
            "VolumeMode",
            "string",
            "volumeMode defines what type of volume is required by the claim. Value of Filesystem is implied when "
            "not included in claim spec.",
            priority=1,
        ),
    ),
    cells=_cells,
)

RESOURCE_TYPES: tuple[ResourceType, ...] = (PERSISTENT_VOLUME_CLAIM,)
