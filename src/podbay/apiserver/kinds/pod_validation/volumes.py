"""The volumes of a pod: names, exactly one source each, and the sources a kubelet serves by itself.

Sources that need a storage system are in volume_plugins.py, projected ones in projected.py. Source: ValidateVolumes
and validateVolumeSource in pkg/apis/core/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from podbay.apiserver.field import FieldError, Path, duplicate, forbidden, go_quote, invalid, required
from podbay.apiserver.kinds.pod_validation import rules, volume_plugins
from podbay.apiserver.kinds.pod_validation.claims import claim_template_errors
from podbay.apiserver.kinds.pod_validation.files import file_mode_errors, items_errors
from podbay.apiserver.kinds.pod_validation.projected import downward_api_errors, projected_errors
from podbay.objects import names
from podbay.objects.quantity import Quantity

__all__ = ["PULL_POLICIES", "pull_policy_errors", "volumes_errors"]

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
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
_ONE_TYPE = "may not specify more than 1 volume type"

Source = Mapping[str, Any]
SourceRule = Callable[[Path, Source], list[FieldError]]


def volumes_errors(
    path: Path, volumes: Sequence[Mapping[str, Any]], pod_name: str
) -> tuple[dict[str, Mapping[str, Any]], list[FieldError]]:
    """Errors, and the volumes without any by name: only those count as found when a container mounts them."""
    errors: list[FieldError] = []
    good: dict[str, Mapping[str, Any]] = {}
    created_claims = {
        f"{pod_name}-{volume.get('name') or ''}"
        for volume in volumes
        if pod_name and volume.get("ephemeral") is not None
    }
    for i, volume in enumerate(volumes):
        at = path.index(i)
        name = volume.get("name") or ""
        found = _source_errors(at, volume, pod_name)
        if not name:
            found.append(required(at.child("name")))
        else:
            found += rules.short_name(at.child("name"), name)
        if name in good:
            found.append(duplicate(at.child("name"), name))
        if found:
            errors += found
        else:
            good[name] = volume
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if claim is not None and claim in created_claims:
            words = "must not reference a PVC that gets created for an ephemeral volume"
            errors.append(invalid(at.child("persistentVolumeClaim", "claimName"), claim, words))
    return good, errors


def _source_errors(path: Path, volume: Mapping[str, Any], pod_name: str) -> list[FieldError]:
    """Sources in the order the API looks at them; all but the first are refused without a closer look."""
    errors: list[FieldError] = []
    found = False
    name = volume.get("name") or ""
    for field, printed, rule in _SOURCES:
        source = volume.get(field)
        if source is None:
            continue
        if found:
            errors.append(forbidden(path.child(_PRINTED_WHEN_SECOND.get(field, field)), _ONE_TYPE))
        else:
            errors += rule(path.child(printed), source)
            if field == "ephemeral" and pod_name and name:
                errors += _generated_claim_name_errors(path.child("name"), name, f"{pod_name}-{name}")
        found = True
        if field == "iscsi":
            errors += volume_plugins.iscsi_name_errors(path.child("name"), name, source)
    if not found:
        errors.append(required(path, "must specify a volume type"))
    return errors


def _generated_claim_name_errors(path: Path, name: str, claim: str) -> list[FieldError]:
    messages = names.dns1123_subdomain_errors(claim)
    return [invalid(path, name, f"PVC name {go_quote(claim)}: {message}") for message in messages]


def _empty_dir(path: Path, source: Source) -> list[FieldError]:
    limit = source.get("sizeLimit")
    if limit is not None and Quantity.from_json(limit).sign < 0:
        return [forbidden(path.child("sizeLimit"), "SizeLimit field must be a valid resource quantity")]
    return []


def _host_path(path: Path, source: Source) -> list[FieldError]:
    value = source.get("path") or ""
    if not value:
        return [required(path.child("path"))]
    errors = rules.no_backsteps(path.child("path"), value)
    return errors + rules.one_of(path.child("type"), source.get("type"), _HOST_PATH_TYPES)


def _git_repo(path: Path, source: Source) -> list[FieldError]:
    errors = rules.required_text(path.child("repository"), source.get("repository"))
    return errors + rules.descending_path(path.child("directory"), source.get("directory") or "")


def _secret(path: Path, source: Source) -> list[FieldError]:
    errors = rules.required_text(path.child("secretName"), source.get("secretName"))
    errors += file_mode_errors(path.child("defaultMode"), source.get("defaultMode"))
    return errors + items_errors(path.child("items"), source.get("items") or ())


def _config_map(path: Path, source: Source) -> list[FieldError]:
    errors = rules.required_text(path.child("name"), source.get("name"))
    errors += file_mode_errors(path.child("defaultMode"), source.get("defaultMode"))
    return errors + items_errors(path.child("items"), source.get("items") or ())


def _claim(path: Path, source: Source) -> list[FieldError]:
    return rules.required_text(path.child("claimName"), source.get("claimName"))


def _ephemeral(path: Path, source: Source) -> list[FieldError]:
    template = source.get("volumeClaimTemplate")
    at = path.child("volumeClaimTemplate")
    return [required(at)] if template is None else claim_template_errors(at, template)


def _image(path: Path, source: Source) -> list[FieldError]:
    errors = rules.required_text(path.child("reference"), source.get("reference"))
    return errors + pull_policy_errors(path.child("pullPolicy"), source.get("pullPolicy"))


def pull_policy_errors(path: Path, value: str | None) -> list[FieldError]:
    return rules.one_of(path, value, PULL_POLICIES) if value else [required(path)]


_SOURCES: tuple[tuple[str, str, SourceRule], ...] = (
    ("emptyDir", "emptyDir", _empty_dir),
    ("hostPath", "hostPath", _host_path),
    ("gitRepo", "gitRepo", _git_repo),
    ("gcePersistentDisk", "persistentDisk", volume_plugins.gce_persistent_disk),
    ("awsElasticBlockStore", "awsElasticBlockStore", volume_plugins.aws_elastic_block_store),
    ("secret", "secret", _secret),
    ("nfs", "nfs", volume_plugins.nfs),
    ("iscsi", "iscsi", volume_plugins.iscsi),
    ("glusterfs", "glusterfs", volume_plugins.glusterfs),
    ("flocker", "flocker", volume_plugins.flocker),
    ("persistentVolumeClaim", "persistentVolumeClaim", _claim),
    ("rbd", "rbd", volume_plugins.rbd),
    ("cinder", "cinder", volume_plugins.cinder),
    ("cephfs", "cephfs", volume_plugins.cephfs),
    ("quobyte", "quobyte", volume_plugins.quobyte),
    ("downwardAPI", "downwardAPI", downward_api_errors),
    ("fc", "fc", volume_plugins.fibre_channel),
    ("flexVolume", "flexVolume", volume_plugins.flex_volume),
    ("configMap", "configMap", _config_map),
    ("azureFile", "azureFile", volume_plugins.azure_file),
    ("vsphereVolume", "vsphereVolume", volume_plugins.vsphere_volume),
    ("photonPersistentDisk", "photonPersistentDisk", volume_plugins.photon_persistent_disk),
    ("portworxVolume", "portworxVolume", volume_plugins.portworx_volume),
    ("azureDisk", "azureDisk", volume_plugins.azure_disk),
    ("storageos", "storageos", volume_plugins.storage_os),
    ("projected", "projected", projected_errors),
    ("scaleIO", "scaleIO", volume_plugins.scale_io),
    ("csi", "csi", volume_plugins.csi),
    ("ephemeral", "ephemeral", _ephemeral),
    ("image", "image", _image),
)
"""JSON field, the name in paths of its errors, its rule; in the order of the real server."""

_PRINTED_WHEN_SECOND = {"cephfs": "cephFS", "downwardAPI": "downwarAPI"}
"""The real server spells these two differently when it refuses them as a second source."""
