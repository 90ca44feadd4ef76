"""PersistentVolume: a piece of storage. Host path, local, NFS and CSI volumes are checked in full, others counted.

Source: pkg/registry/core/persistentvolume, ValidatePersistentVolume*, SetDefaults_PersistentVolume.
"""

from __future__ import annotations

import difflib
import json
import posixpath
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from podbay.apiserver.field import FieldError, Path, forbidden, invalid, not_supported, required
from podbay.apiserver.kinds.persistentvolumeclaim import (
    access_mode_errors,
    access_modes_text,
    storage_class_of,
    volume_mode_errors,
)
from podbay.apiserver.kinds.pod_internal import to_go
from podbay.apiserver.kinds.resource_lists import round_quantities
from podbay.apiserver.kinds.strategies import StatusStrategy, carry_over, status_view
from podbay.apiserver.metadata import immutable
from podbay.apiserver.registry import Column, ResourceType, Strategy, StrategyContext
from podbay.apiserver.tables import AGE_COLUMN, NAME_COLUMN, age
from podbay.objects.equality import semantically_equal
from podbay.objects.meta import Object
from podbay.objects.names import dns1123_subdomain_errors
from podbay.objects.quantity import Quantity
from podbay.objects.resource import GVR

__all__ = ["PERSISTENT_VOLUME", "RESOURCE_TYPES"]

_TYPE = "io.k8s.api.core.v1.PersistentVolume"
_SPEC = Path("spec")
_RECLAIM_POLICIES = ("Delete", "Recycle", "Retain")
_HOST_PATH_TYPES = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
_SOURCES = (
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
)
_PRINTED_SOURCE = {"cephfs": "cephFS"}


class VolumeStrategy(Strategy):
    """The volume without its status."""

    returns_deleted_object = True
    metadata_repeats = (2, 0)

    def set_defaults(self, obj: Object) -> None:
        _set_defaults(obj)

    def prepare_for_create(self, obj: Object, ctx: StrategyContext) -> None:
        obj["status"] = {"phase": "Pending", "lastPhaseTransitionTime": _timestamp(ctx.now)}

    def validate(self, obj: Object, ctx: StrategyContext) -> list[FieldError]:
        return _spec_errors(obj.get("spec") or {})

    def prepare_for_update(self, obj: Object, old: Object, ctx: StrategyContext) -> None:
        carry_over(obj, old, "status")

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        # The real strategy validates the new volume, and its update validation does so once more.
        return _spec_errors(obj.get("spec") or {}) * 2 + _update_errors(obj, old)


class VolumeStatusStrategy(StatusStrategy):
    """The `status` view; a change of phase is dated."""

    def set_defaults(self, obj: Object) -> None:
        _set_defaults(obj)

    def prepare_for_update(self, obj: Object, old: Object, ctx: StrategyContext) -> None:
        super().prepare_for_update(obj, old, ctx)
        status, old_status = obj.get("status") or {}, old.get("status") or {}
        key = "lastPhaseTransitionTime"
        if status.get("phase") != old_status.get("phase") and status.get(key) == old_status.get(key):
            status[key] = _timestamp(ctx.now)


def _timestamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _set_defaults(obj: Object) -> None:
    spec, status = obj.setdefault("spec", {}), obj.setdefault("status", {})
    if not status.get("phase"):
        status["phase"] = "Pending"
    if not spec.get("persistentVolumeReclaimPolicy"):
        spec["persistentVolumeReclaimPolicy"] = "Retain"
    if spec.get("volumeMode") is None:
        spec["volumeMode"] = "Filesystem"
    host_path = spec.get("hostPath")
    if host_path is not None and host_path.get("type") is None:
        host_path["type"] = ""
    round_quantities(spec.get("capacity"))


def _spec_errors(spec: Mapping[str, Any]) -> list[FieldError]:
    path = _SPEC.child("accessModes")
    modes = spec.get("accessModes") or []
    errors = [] if modes else [required(path)]
    errors += access_mode_errors(modes, path) + _capacity_errors(spec.get("capacity") or {})
    policy = spec.get("persistentVolumeReclaimPolicy")
    if policy and policy not in _RECLAIM_POLICIES:
        errors.append(not_supported(_SPEC.child("persistentVolumeReclaimPolicy"), policy, _RECLAIM_POLICIES))
    affinity = spec.get("nodeAffinity")
    if affinity is not None and affinity.get("required") is None:
        at = _SPEC.child("nodeAffinity", "required")
        errors.append(required(at, "must specify required node constraints"))
    elif affinity is not None and not affinity["required"].get("nodeSelectorTerms"):
        at = _SPEC.child("nodeAffinity", "required", "nodeSelectorTerms")
        errors.append(required(at, "must have at least one node selector term"))
    errors += _sources_errors(spec)
    name = spec.get("storageClassName") or ""
    if name:
        at = _SPEC.child("storageClassName")
        errors += [invalid(at, name, message) for message in dns1123_subdomain_errors(name)]
    return errors + volume_mode_errors(spec.get("volumeMode"), _SPEC.child("volumeMode"))


def _capacity_errors(capacity: Mapping[str, Any]) -> list[FieldError]:
    path = _SPEC.child("capacity")
    errors = [] if capacity else [required(path)]
    if set(capacity) != {"storage"}:
        shown = {name: str(Quantity.from_json(amount)) for name, amount in capacity.items()}
        errors.append(not_supported(path, shown or None, ["storage"]))
    for name, amount in capacity.items():
        quantity = Quantity.from_json(amount)
        at = path.key(name)
        if quantity.value() < 0:
            errors.append(invalid(at, quantity.value(), "must be a valid resource quantity"))
        if quantity.sign <= 0:
            errors.append(invalid(at, str(quantity), "must be greater than zero"))
    return errors


def _sources_errors(spec: Mapping[str, Any]) -> list[FieldError]:
    given = [source for source in _SOURCES if spec.get(source) is not None]
    if not given:
        return [required(_SPEC, "must specify a volume type")]
    errors = _source_errors(given[0], spec)
    for source in given[1:]:
        at = _SPEC.child(_PRINTED_SOURCE.get(source, source))
        errors.append(forbidden(at, "may not specify more than 1 volume type"))
    host_path = (spec.get("hostPath") or {}).get("path") or ""
    recycled = spec.get("persistentVolumeReclaimPolicy") == "Recycle"
    if host_path and recycled and posixpath.normpath(host_path) in ("/", "//"):
        at = _SPEC.child("persistentVolumeReclaimPolicy")
        errors.append(forbidden(at, "may not be 'recycle' for a hostPath mount of '/'"))
    return errors


def _source_errors(name: str, spec: Mapping[str, Any]) -> list[FieldError]:
    source, path = spec[name], _SPEC.child(name)
    match name:
        case "hostPath":
            errors = _path_errors(source.get("path") or "", path.child("path"))
            kind = source.get("type")
            if kind is not None and kind not in _HOST_PATH_TYPES:
                errors.append(not_supported(path.child("type"), kind, _HOST_PATH_TYPES))
            return errors
        case "local":
            errors = _path_errors(source.get("path") or "", path.child("path"))
            if spec.get("nodeAffinity") is None:
                words = "Local volume requires node affinity"
                errors.append(required(_SPEC.child("nodeAffinity"), words))
            return errors
        case "nfs":
            errors = [required(path.child(key)) for key in ("server", "path") if not source.get(key)]
            if source.get("path") and not posixpath.isabs(source["path"]):
                errors.append(invalid(path.child("path"), source["path"], "must be an absolute path"))
            return errors
        case "csi":
            return [required(path.child(key)) for key in ("driver", "volumeHandle") if not source.get(key)]
    return []


def _path_errors(value: str, path: Path) -> list[FieldError]:
    if not value:
        return [required(path)]
    return [invalid(path, value, "must not contain '..'")] if ".." in value.split("/") else []


def _update_errors(obj: Object, old: Object) -> list[FieldError]:
    spec, old_spec = obj.get("spec") or {}, old.get("spec") or {}
    source = {name: spec.get(name) for name in _SOURCES if spec.get(name) is not None}
    old_source = {name: old_spec.get(name) for name in _SOURCES if old_spec.get(name) is not None}
    errors: list[FieldError] = []
    if not semantically_equal(source, old_source):
        words = "spec.persistentvolumesource is immutable after creation\n"
        shown = _source_diff(old_source, source)
        errors.append(forbidden(_SPEC.child("persistentvolumesource"), words + shown))
    errors += immutable(spec.get("volumeMode"), old_spec.get("volumeMode"), Path("volumeMode"))
    if old_spec.get("nodeAffinity") is not None:
        affinities = spec.get("nodeAffinity"), old_spec["nodeAffinity"]
        errors += immutable(*affinities, Path("nodeAffinity"))
    return errors


def _source_diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The diff of two sources, printed as Go does."""
    return "".join([*difflib.unified_diff(_source_lines(old), _source_lines(new), n=3)][2:])


def _source_lines(source: Mapping[str, Any]) -> list[str]:
    """A source as the internal type prints it: the part of the spec that it keeps in a struct of its own."""
    names = {name.lower() for name in _SOURCES}
    spec = to_go("core/v1.PersistentVolumeSpec", source)
    part = {name: value for name, value in spec.items() if name.lower() in names}
    return [f"{line}\n" for line in json.dumps(part, indent=1).split("\n")]


def _cells(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    deleted = bool(obj["metadata"].get("deletionTimestamp"))
    claim = spec.get("claimRef")
    attributes, mode = spec.get("volumeAttributesClassName"), spec.get("volumeMode")
    return [
        obj["metadata"]["name"],
        str(Quantity.from_json((spec.get("capacity") or {}).get("storage"))),
        access_modes_text(spec.get("accessModes") or ()),
        spec.get("persistentVolumeReclaimPolicy") or "",
        "Terminating" if deleted else status.get("phase") or "",
        "" if claim is None else f"{claim.get('namespace') or ''}/{claim.get('name') or ''}",
        storage_class_of(obj),
        "<unset>" if attributes is None else attributes,
        status.get("reason") or "",
        age(obj, now),
        "<unset>" if mode is None else mode,
    ]


_MORE = "https://kubernetes.io/docs/concepts/storage/persistent-volumes#"

PERSISTENT_VOLUME = ResourceType(
    gvr=GVR("", "v1", "persistentvolumes"),
    kind="PersistentVolume",
    type_name=_TYPE,
    namespaced=False,
    singular="persistentvolume",
    short_names=("pv",),
    strategy=VolumeStrategy(),
    subresources=(status_view("PersistentVolume", _TYPE, VolumeStatusStrategy()),),
    columns=(
        NAME_COLUMN,
        Column(
            "Capacity",
            "string",
            "capacity is the description of the persistent volume's resources and capacity. More info: "
            f"{_MORE}capacity",
        ),
        Column(
            "Access Modes",
            "string",
            f"accessModes contains all ways the volume can be mounted. More info: {_MORE}access-modes",
        ),
        Column(
            "Reclaim Policy",
            "string",
            "persistentVolumeReclaimPolicy defines what happens to a persistent volume when released from its claim. "
            "Valid options are Retain (default for manually created PersistentVolumes), Delete (default for "
            "dynamically provisioned PersistentVolumes), and Recycle (deprecated). Recycle must be supported by the "
            f"volume plugin underlying this PersistentVolume. More info: {_MORE}reclaiming",
        ),
        Column(
            "Status",
            "string",
            "phase indicates if a volume is available, bound to a claim, or released by a claim. More info: "
            f"{_MORE}phase",
        ),
        Column(
            "Claim",
            "string",
            "claimRef is part of a bi-directional binding between PersistentVolume and PersistentVolumeClaim. "
            "Expected to be non-nil when bound. claim.VolumeName is the authoritative bind between PV and PVC. More "
            f"info: {_MORE}binding",
        ),
        Column("StorageClass", "string", "StorageClass of the pv"),
        Column("VolumeAttributesClass", "string", "VolumeAttributesClass of the pv"),
        Column(
            "Reason",
            "string",
            "reason is a brief CamelCase string that describes any failure and is meant for machine parsing and tidy "
            "display in the CLI.",
        ),
        AGE_COLUMN,
        Column(
            "VolumeMode",
            "string",
            "volumeMode defines if a volume is intended to be used with a formatted filesystem or to remain in raw "
            "block state. Value of Filesystem is implied when not included in spec.",
            priority=1,
        ),
    ),
    cells=_cells,
)

RESOURCE_TYPES: tuple[ResourceType, ...] = (PERSISTENT_VOLUME,)
