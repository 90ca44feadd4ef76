"""Limits on local disk space: which pods have one, and the kubelet's sentence when it is exceeded. Pure.

Source: pkg/kubelet/eviction/eviction_manager.go (localStorageEviction) and helpers.go for the words.
"""

from __future__ import annotations

from collections.abc import Mapping

from podbay.apiserver.quota.pod_resources import pod_limits
from podbay.objects.meta import Object
from podbay.objects.quantity import Quantity
from podbay.objects.quoting import go_quote

__all__ = ["exceeded", "has_disk_limit"]

_RESOURCE = "ephemeral-storage"


def has_disk_limit(pod: Object) -> bool:
    """Whether usage has to be looked at."""
    return bool(_sized_volumes(pod)) or _RESOURCE in pod_limits(pod)


def _sized_volumes(pod: Object) -> dict[str, Quantity]:
    return {
        v["name"]: Quantity.from_json(v["emptyDir"]["sizeLimit"])
        for v in pod["spec"].get("volumes") or ()
        if (v.get("emptyDir") or {}).get("sizeLimit") is not None
    }


def exceeded(pod: Object, containers: Mapping[str, int], volumes: Mapping[str, int]) -> str:
    """The message of the eviction, empty while all is well.

    containers: bytes of layer and log by container name; volumes: bytes by name of the pod's emptyDir volumes.
    """
    for name, limit in _sized_volumes(pod).items():
        if volumes.get(name, 0) > limit.value() and not limit.is_zero:
            return f"Usage of EmptyDir volume {go_quote(name)} exceeds the limit {go_quote(str(limit))}. "
    whole = pod_limits(pod).get(_RESOURCE)
    if whole is not None and not whole.is_zero:
        used = sum(containers.values()) + sum(volumes.values())
        if used > whole.value():
            return f"Pod ephemeral local storage usage exceeds the total limit of containers {whole}. "
    for container in pod["spec"]["containers"]:
        text = ((container.get("resources") or {}).get("limits") or {}).get(_RESOURCE)
        own = Quantity.from_json(text)
        if text is not None and not own.is_zero and containers.get(container["name"], 0) > own.value():
            limit_text = go_quote(str(own))
            return f"Container {container['name']} exceeded its local ephemeral storage limit {limit_text}. "
    return ""
