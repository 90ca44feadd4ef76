"""Building `Node` objects: what a node says of itself when it registers. Pure.

Shared by scripted nodes and the node agent. Source: pkg/kubelet/nodestatus/setters.go, pkg/kubelet/kubelet_node_status.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from podbay.objects.events import timestamp
from podbay.objects.meta import Object
from podbay.objects.resource import GVR

__all__ = ["LEASES", "NODES", "NODE_LEASES", "NodeInfoFields", "node_conditions", "node_lease", "node_object"]

NODES = GVR("", "v1", "nodes")
LEASES = GVR("coordination.k8s.io", "v1", "leases")
NODE_LEASES = "kube-node-lease"
"""The namespace of the nodes' heartbeat leases."""

_DEFAULT_CAPACITY = {"cpu": "8", "memory": "32Gi", "ephemeral-storage": "100Gi", "pods": "110"}
_PRESSURE = (
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeInfoFields:
    """status.nodeInfo: what the machine is."""

    kubelet_version: str = "v1.36.2"
    container_runtime_version: str = "podbay://0"
    os_image: str = "Podbay"
    kernel_version: str = ""
    architecture: str = "amd64"
    machine_id: str = ""
    boot_id: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def fields(self) -> Object:
        """The object as it stands in the API."""
        return {
            "machineID": self.machine_id,
            "systemUUID": self.machine_id,
            "bootID": self.boot_id,
            "kernelVersion": self.kernel_version,
            "osImage": self.os_image,
            "containerRuntimeVersion": self.container_runtime_version,
            "kubeletVersion": self.kubelet_version,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": self.architecture,
            **self.extra,
        }


def node_conditions(now: datetime, *, ready: bool = True, ready_message: str = "") -> list[Object]:
    """The four conditions of a healthy (or not ready) node, in the kubelet's words."""
    moment = timestamp(now)
    conditions = [
        {
            "type": kind,
            "status": "False",
            "lastHeartbeatTime": moment,
            "lastTransitionTime": moment,
            "reason": reason,
            "message": message,
        }
        for kind, reason, message in _PRESSURE
    ]
    conditions.append(
        {
            "type": "Ready",
            "status": "True" if ready else "False",
            "lastHeartbeatTime": moment,
            "lastTransitionTime": moment,
            "reason": "KubeletReady" if ready else "KubeletNotReady",
            "message": ready_message or ("kubelet is posting ready status" if ready else "node is not ready"),
        }
    )
    return conditions


def node_object(
    name: str,
    *,
    now: datetime,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    taints: Sequence[Mapping[str, Any]] = (),
    unschedulable: bool = False,
    capacity: Mapping[str, str] | None = None,
    allocatable: Mapping[str, str] | None = None,
    conditions: Sequence[Object] | None = None,
    addresses: Sequence[Mapping[str, str]] | None = None,
    info: NodeInfoFields | None = None,
) -> Object:
    """A Node to register. capacity adds to (and overrides) 8 cpus, 32Gi, 100Gi and 110 pods; allocatable
    defaults to capacity. The well-known labels (hostname, os, arch) are set unless given."""
    info = info or NodeInfoFields()
    full = {**_DEFAULT_CAPACITY, **(capacity or {})}
    well_known = {
        "beta.kubernetes.io/arch": info.architecture,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": info.architecture,
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
    }
    spec: Object = {}
    if taints:
        spec["taints"] = [dict(t) for t in taints]
    if unschedulable:
        spec["unschedulable"] = True
    metadata: Object = {"name": name, "labels": {**well_known, **(labels or {})}}
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": metadata,
        "spec": spec,
        "status": {
            "capacity": full,
            "allocatable": {**full, **(allocatable or {})},
            "conditions": list(conditions) if conditions is not None else node_conditions(now),
            "addresses": [dict(a) for a in addresses] if addresses is not None else _addresses(name),
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": info.fields(),
        },
    }


def _addresses(name: str) -> list[Mapping[str, str]]:
    return [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}]


def node_lease(node: Object, *, renew_time: str, duration_seconds: int = 40) -> Object:
    """The heartbeat lease of a registered node. renew_time is a metav1.MicroTime."""
    name = node["metadata"]["name"]
    owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node["metadata"].get("uid") or ""}
    metadata: Object = {"name": name, "namespace": NODE_LEASES}
    if owner["uid"]:
        metadata["ownerReferences"] = [owner]
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": {
            "holderIdentity": name,
            "leaseDurationSeconds": duration_seconds,
            "renewTime": renew_time,
        },
    }
