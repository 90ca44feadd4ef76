"""Where a container mounts volumes and block devices.

Source: ValidateVolumeMounts, ValidateVolumeDevices in pkg/apis/core/validation/validation.go. Errors of subPath and
of propagation carry the list's own path there, without an index.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podbay.apiserver.field import FieldError, Path, forbidden, invalid, not_found, not_supported, required
from podbay.apiserver.kinds.pod_validation import rules

__all__ = ["devices_errors", "mounts_errors"]

_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_RECURSIVE_READ_ONLY = ("Disabled", "Enabled", "IfPossible")

Volumes = Mapping[str, Mapping[str, Any]]


def mounts_errors(path: Path, container: Mapping[str, Any], volumes: Volumes) -> list[FieldError]:
    """`volumeMounts`; volumes are the pod's volumes that are valid, by name."""
    devices = {d.get("name") or "": d.get("devicePath") or "" for d in container.get("volumeDevices") or ()}
    errors: list[FieldError] = []
    taken: set[str] = set()
    for i, mount in enumerate(container.get("volumeMounts") or ()):
        at = path.index(i)
        name, where = mount.get("name") or "", mount.get("mountPath") or ""
        errors += rules.required_text(at.child("name"), name)
        if name not in volumes:
            errors.append(not_found(at.child("name"), name))
        errors += rules.required_text(at.child("mountPath"), where)
        if where in taken:
            errors.append(invalid(at.child("mountPath"), where, "must be unique"))
        taken.add(where)
        if name in devices:
            errors.append(invalid(at.child("name"), name, "must not already exist in volumeDevices"))
        if where in devices.values():
            words = "must not already exist as a path in volumeDevices"
            errors.append(invalid(at.child("mountPath"), where, words))
        errors += _sub_path_errors(path, at, mount)
        errors += _propagation_errors(path.child("mountPropagation"), mount, container)
        errors += _recursive_errors(path.child("recursiveReadOnly"), mount)
    return errors


def _sub_path_errors(list_path: Path, path: Path, mount: Mapping[str, Any]) -> list[FieldError]:
    sub_path, expression = mount.get("subPath") or "", mount.get("subPathExpr") or ""
    errors = rules.descending_path(list_path.child("subPath"), sub_path) if sub_path else []
    if expression:
        if sub_path:
            words = "subPathExpr and subPath are mutually exclusive"
            errors.append(invalid(path.child("subPathExpr"), expression, words))
        errors += rules.descending_path(list_path.child("subPathExpr"), expression)
    return errors


def _propagation_errors(
    path: Path, mount: Mapping[str, Any], container: Mapping[str, Any]
) -> list[FieldError]:
    value = mount.get("mountPropagation")
    errors = rules.one_of(path, value, _PROPAGATIONS)
    privileged = (container.get("securityContext") or {}).get("privileged")
    if value == "Bidirectional" and not privileged:
        words = "Bidirectional mount propagation is available only to privileged containers"
        errors.append(forbidden(path, words))
    return errors


def _recursive_errors(path: Path, mount: Mapping[str, Any]) -> list[FieldError]:
    value = mount.get("recursiveReadOnly")
    if value is None or value == "Disabled":
        return []
    if value not in _RECURSIVE_READ_ONLY:
        return [not_supported(path, value, _RECURSIVE_READ_ONLY)]
    errors = []
    if not mount.get("readOnly"):
        errors.append(forbidden(path, "may only be specified when readOnly is true"))
    if mount.get("mountPropagation") not in (None, "None"):
        words = "may only be specified when mountPropagation is None or not specified"
        errors.append(forbidden(path, words))
    return errors


def devices_errors(path: Path, container: Mapping[str, Any], volumes: Volumes) -> list[FieldError]:
    """`volumeDevices`: block devices, which only claims can be."""
    mounts = {m.get("name") or "": m.get("mountPath") or "" for m in container.get("volumeMounts") or ()}
    errors: list[FieldError] = []
    names: set[str] = set()
    paths: set[str] = set()
    for i, device in enumerate(container.get("volumeDevices") or ()):
        at = path.index(i)
        name, where = device.get("name") or "", device.get("devicePath") or ""
        errors += _device_name_errors(at.child("name"), name, names, volumes)
        errors += rules.required_text(at.child("devicePath"), where)
        if where in paths:
            errors.append(invalid(at.child("devicePath"), where, "must be unique"))
        if ".." in where.split("/"):
            errors.append(invalid(at.child("devicePath"), where, "can not contain backsteps ('..')"))
        else:
            paths.add(where)
        if name in mounts:
            errors.append(invalid(at.child("name"), name, "must not already exist in volumeMounts"))
        if where in mounts.values():
            words = "must not already exist as a path in volumeMounts"
            errors.append(invalid(at.child("devicePath"), where, words))
        if name:
            names.add(name)
    return errors


def _device_name_errors(path: Path, name: str, taken: set[str], volumes: Volumes) -> list[FieldError]:
    errors = [] if name else [required(path)]
    if name in taken:
        errors.append(invalid(path, name, "must be unique"))
    volume = volumes.get(name)
    if volume is None:
        errors.append(not_found(path, name))
    elif volume.get("persistentVolumeClaim") is None and volume.get("ephemeral") is None:
        words = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
        errors.append(invalid(path, name, words))
    return errors
