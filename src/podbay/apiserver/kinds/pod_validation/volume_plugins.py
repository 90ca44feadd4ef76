"""Volume sources of storage systems, most of them long without effect: only that their fields are there and well formed.

Source: validate*VolumeSource in pkg/apis/core/validation/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from podbay.apiserver.field import FieldError, Path, invalid, not_supported, required, too_long
from podbay.apiserver.kinds.pod_validation import rules
from podbay.objects import names

__all__ = [
    "aws_elastic_block_store",
    "azure_disk",
    "azure_file",
    "cephfs",
    "cinder",
    "csi",
    "fibre_channel",
    "flex_volume",
    "flocker",
    "gce_persistent_disk",
    "glusterfs",
    "iscsi",
    "iscsi_name_errors",
    "nfs",
    "photon_persistent_disk",
    "portworx_volume",
    "quobyte",
    "rbd",
    "scale_io",
    "storage_os",
    "vsphere_volume",
]

Source = Mapping[str, Any]

_ISCSI_FORMATS = {
    "iqn": re.compile(r"iqn\.\d{4}-\d{2}\.([A-Za-z0-9\-.]+)(:[^,;*&$|\s]+)$", re.ASCII),
    "eui": re.compile(r"^eui.[A-Za-z0-9]{16}$", re.ASCII),
    "naa": re.compile(r"^naa.[A-Za-z0-9]{32}$", re.ASCII),
}
_ISCSI_PREFIX = "must be valid format starting with iqn, eui, or naa"
_ISCSI_NAME_MAX = 64
_CSI_NAME_MAX = 63
_QUOBYTE_REGISTRY = "must be a host:port pair or multiple pairs separated by commas"
_QUOBYTE_TENANT_MAX = 64
_MANAGED_DISK = (
    "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
)
_BLOB_DISK = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"


def _all_required(path: Path, source: Source, *fields: str) -> list[FieldError]:
    return [error for field in fields for error in rules.required_text(path.child(field), source.get(field))]


def _secret_ref(path: Path, source: Source) -> list[FieldError]:
    ref = source.get("secretRef")
    return [] if ref is None else rules.required_text(path.child("secretRef", "name"), ref.get("name"))


def _partition(path: Path, source: Source) -> list[FieldError]:
    value = source.get("partition") or 0
    if 0 <= value <= 255:
        return []
    return [invalid(path.child("partition"), value, "must be between 1 and 255, inclusive")]


def gce_persistent_disk(path: Path, source: Source) -> list[FieldError]:
    return _all_required(path, source, "pdName") + _partition(path, source)


def aws_elastic_block_store(path: Path, source: Source) -> list[FieldError]:
    return _all_required(path, source, "volumeID") + _partition(path, source)


def nfs(path: Path, source: Source) -> list[FieldError]:
    errors = _all_required(path, source, "server", "path")
    value = source.get("path") or ""
    if not rules.absolute_path(value):
        errors.append(invalid(path.child("path"), value, "must be an absolute path"))
    return errors


def iscsi(path: Path, source: Source) -> list[FieldError]:
    errors = _all_required(path, source, "targetPortal")
    name = source.get("iqn") or ""
    if not name:
        errors.append(required(path.child("iqn")))
    else:
        errors += _iscsi_format(path.child("iqn"), name)
    errors += _lun(path.child("lun"), source.get("lun") or 0)
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and source.get("secretRef") is None:
        errors.append(required(path.child("secretRef")))
    initiator = source.get("initiatorName")
    if initiator is not None:
        errors += _iscsi_format(path.child("initiatorname"), initiator)
    return errors


def _iscsi_format(path: Path, value: str) -> list[FieldError]:
    rule = _ISCSI_FORMATS.get(value[:3])
    if rule is None:
        return [invalid(path, value, _ISCSI_PREFIX)]
    return [] if rule.search(value) else [invalid(path, value, "must be valid format")]


def _lun(path: Path, value: int) -> list[FieldError]:
    return [] if 0 <= value <= 255 else [invalid(path, value, "must be between 0 and 255, inclusive")]


def iscsi_name_errors(path: Path, volume: str, source: Source) -> list[FieldError]:
    """The volume's name together with the portal, which the kubelet makes one name of."""
    if source.get("initiatorName") is None:
        return []
    if len(f"{volume}:{source.get('targetPortal') or ''}".encode()) <= _ISCSI_NAME_MAX:
        return []
    words = (
        "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters "
        "if iscsi.initiatorName is specified."
    )
    return [invalid(path, volume, words)]


def glusterfs(path: Path, source: Source) -> list[FieldError]:
    return _all_required(path, source, "endpoints", "path")


def flocker(path: Path, source: Source) -> list[FieldError]:
    name, uuid = source.get("datasetName") or "", source.get("datasetUUID") or ""
    errors = []
    if not name and not uuid:
        errors.append(required(path, "one of datasetName and datasetUUID is required"))
    if name and uuid:
        words = "datasetName and datasetUUID can not be specified simultaneously"
        errors.append(invalid(path, "resource", words))
    if "/" in name:
        errors.append(invalid(path.child("datasetName"), name, "must not contain '/'"))
    return errors


def rbd(path: Path, source: Source) -> list[FieldError]:
    errors = [] if source.get("monitors") else [required(path.child("monitors"))]
    return errors + _all_required(path, source, "image")


def cinder(path: Path, source: Source) -> list[FieldError]:
    return _all_required(path, source, "volumeID") + _secret_ref(path, source)


def cephfs(path: Path, source: Source) -> list[FieldError]:
    return [] if source.get("monitors") else [required(path.child("monitors"))]


def quobyte(path: Path, source: Source) -> list[FieldError]:
    registry = source.get("registry") or ""
    errors = []
    if not registry:
        errors.append(required(path.child("registry"), _QUOBYTE_REGISTRY))
    elif len((source.get("tenant") or "").encode()) > _QUOBYTE_TENANT_MAX:
        words = "must be a UUID and may not exceed a length of 64 characters"
        errors.append(required(path.child("tenant"), words))
    else:
        for pair in registry.split(","):
            if not _is_host_port(pair):
                errors.append(invalid(path.child("registry"), registry, _QUOBYTE_REGISTRY))
    return errors + _all_required(path, source, "volume")


def _is_host_port(text: str) -> bool:
    host, colon, _ = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        return bool(colon)
    return bool(colon) and ":" not in host and "[" not in text and "]" not in text


def fibre_channel(path: Path, source: Source) -> list[FieldError]:
    targets, wwids = source.get("targetWWNs") or [], source.get("wwids") or []
    at = path.child("targetWWNs")
    errors = []
    if not targets and not wwids:
        errors.append(required(at, "must specify either targetWWNs or wwids, but not both"))
    if targets and wwids:
        words = "targetWWNs and wwids can not be specified simultaneously"
        errors.append(invalid(at, targets, words))
    if targets:
        lun = source.get("lun")
        if lun is None:
            errors.append(required(path.child("lun"), "lun is required if targetWWNs is specified"))
        else:
            errors += _lun(path.child("lun"), lun)
    return errors


def flex_volume(path: Path, source: Source) -> list[FieldError]:
    errors = _all_required(path, source, "driver")
    for key in source.get("options") or {}:
        owner = "." + key.partition("/")[0].lower()
        if owner.endswith((".kubernetes.io", ".k8s.io")):
            words = "kubernetes.io and k8s.io namespaces are reserved"
            errors.append(invalid(path.child("options").key(key), key, words))
    return errors


def azure_file(path: Path, source: Source) -> list[FieldError]:
    return _all_required(path, source, "secretName", "shareName")


def azure_disk(path: Path, source: Source) -> list[FieldError]:
    errors = _all_required(path, source, "diskName", "diskURI")
    caching, kind = source.get("cachingMode"), source.get("kind")
    errors += rules.one_of(path.child("cachingMode"), caching, ("None", "ReadOnly", "ReadWrite"))
    errors += rules.one_of(path.child("kind"), kind, ("Dedicated", "Managed", "Shared"))
    uri = source.get("diskURI") or ""
    at = path.child("diskURI")
    if kind == "Managed" and not uri.startswith("/subscriptions/"):
        errors.append(not_supported(at, uri, (_MANAGED_DISK,)))
    if kind is not None and kind != "Managed" and not uri.startswith("https://"):
        errors.append(not_supported(at, uri, (_BLOB_DISK,)))
    return errors


def vsphere_volume(path: Path, source: Source) -> list[FieldError]:
    return _all_required(path, source, "volumePath")


def photon_persistent_disk(path: Path, source: Source) -> list[FieldError]:
    return _all_required(path, source, "pdID")


def portworx_volume(path: Path, source: Source) -> list[FieldError]:
    return _all_required(path, source, "volumeID")


def storage_os(path: Path, source: Source) -> list[FieldError]:
    name, namespace = source.get("volumeName") or "", source.get("volumeNamespace") or ""
    at = path.child("volumeName")
    errors = rules.short_name(at, name) if name else [required(at)]
    if namespace:
        errors += rules.short_name(path.child("volumeNamespace"), namespace)
    return errors + _secret_ref(path, source)


def scale_io(path: Path, source: Source) -> list[FieldError]:
    return _all_required(path, source, "gateway", "system", "volumeName")


def csi(path: Path, source: Source) -> list[FieldError]:
    driver = source.get("driver") or ""
    at = path.child("driver")
    errors = []
    if not driver:
        errors.append(required(at))
    else:
        if len(driver.encode()) > _CSI_NAME_MAX:
            errors.append(too_long(at, _CSI_NAME_MAX))
        errors += rules.each(at, driver, names.dns1123_subdomain_errors(driver.lower()))
    ref = source.get("nodePublishSecretRef")
    if ref is not None:
        name = ref.get("name") or ""
        if not name:
            errors.append(required(path.child("nodePublishSecretRef", "name")))
        else:
            errors += rules.name(path.child("name"), name)
    return errors
