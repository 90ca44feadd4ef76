"""Every Secret that a pod spec refers to.

Source: pkg/api/v1/pod/util.go (VisitPodSecretNames).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["secret_names"]

_CONTAINER_FIELDS = ("initContainers", "containers", "ephemeralContainers")
_REFERENCES = (
    ("cephfs", "secretRef"),
    ("cinder", "secretRef"),
    ("flexVolume", "secretRef"),
    ("rbd", "secretRef"),
    ("iscsi", "secretRef"),
    ("scaleIO", "secretRef"),
    ("storageos", "secretRef"),
    ("csi", "nodePublishSecretRef"),
)


def secret_names(spec: dict[str, Any]) -> Iterator[str]:
    """The names, in no promised order and with repeats."""
    for reference in spec.get("imagePullSecrets") or ():
        yield reference.get("name", "")
    for field in _CONTAINER_FIELDS:
        for container in spec.get(field) or ():
            yield from _container_secrets(container)
    for volume in spec.get("volumes") or ():
        yield from _volume_secrets(volume)


def _container_secrets(container: dict[str, Any]) -> Iterator[str]:
    for source in container.get("envFrom") or ():
        if source.get("secretRef") is not None:
            yield source["secretRef"].get("name", "")
    for variable in container.get("env") or ():
        reference = (variable.get("valueFrom") or {}).get("secretKeyRef")
        if reference is not None:
            yield reference.get("name", "")


def _volume_secrets(volume: dict[str, Any]) -> Iterator[str]:
    if volume.get("secret") is not None:
        yield volume["secret"].get("secretName", "")
    secret = (volume.get("azureFile") or {}).get("secretName")
    if secret:
        yield secret
    for source in (volume.get("projected") or {}).get("sources") or ():
        if source.get("secret") is not None:
            yield source["secret"].get("name", "")
    for kind, field in _REFERENCES:
        reference = (volume.get(kind) or {}).get(field)
        if reference is not None:
            yield reference.get("name", "")
