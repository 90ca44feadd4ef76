"""PodMetrics and NodeMetrics: what nodes measured of their pods and of themselves, as metrics-server serves it.

Nothing is stored; measuring.py asks the nodes. Source: k8s.io/metrics, metrics-server's pkg/api.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from podbay.apiserver.registry import Column, ResourceType, Strategy
from podbay.apiserver.schema.gotext import print_duration
from podbay.apiserver.streams import NodeUsage, Use
from podbay.apiserver.tables import NAME_COLUMN
from podbay.objects.meta import Object, labels_of, name_of, namespace_of
from podbay.objects.quantity import Quantity
from podbay.objects.resource import GVR

__all__ = ["NODE_METRICS", "POD_METRICS", "RESOURCE_TYPES", "node_metrics", "pod_metrics"]


_MILLISECOND = 10**6
"""In nanoseconds; windows are not told finer."""


def pod_metrics(pod: Object, usage: NodeUsage, containers: Mapping[str, Use]) -> Object:
    """The PodMetrics of a pod whose running containers use this."""
    listed = [{"name": name, "usage": _usage(containers[name])} for name in sorted(containers)]
    return {**_measured(pod, usage), "containers": listed}


def node_metrics(node: Object, usage: NodeUsage) -> Object:
    """The NodeMetrics of a node."""
    return {**_measured(node, usage), "usage": _usage(usage.node)}


def _measured(obj: Object, usage: NodeUsage) -> Object:
    stamp = usage.timestamp.strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata: dict[str, Any] = {"name": name_of(obj)}
    if namespace_of(obj):
        metadata["namespace"] = namespace_of(obj)
    metadata["creationTimestamp"] = stamp
    if labels_of(obj):
        metadata["labels"] = dict(labels_of(obj))
    return {
        "metadata": metadata,
        "timestamp": stamp,
        "window": print_duration(round(usage.window * 1000) * _MILLISECOND),
    }


def _usage(use: Use) -> dict[str, str]:
    return {
        "cpu": str(Quantity(use.cpu_nanos)),
        "memory": str(Quantity.from_value(use.memory_bytes, "BinarySI")),
    }


def _node_cells(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), obj["usage"]["cpu"], obj["usage"]["memory"], obj["window"]]


def _pod_cells(obj: Object, now: datetime) -> list[Any]:
    used = [container["usage"] for container in obj["containers"]]
    cpu = sum((Quantity.parse(u["cpu"]).nanos for u in used), 0)
    memory = sum((Quantity.parse(u["memory"]).value() for u in used), 0)
    total = _usage(Use(cpu, memory))
    return [name_of(obj), total["cpu"], total["memory"], obj["window"]]


_COLUMNS = (
    NAME_COLUMN,
    Column("CPU", "string"),
    Column("Memory", "string"),
    Column("Window", "string", format="duration"),
)


def _type(resource: str, kind: str, *, namespaced: bool, cells: Any) -> ResourceType:
    return ResourceType(
        gvr=GVR("metrics.k8s.io", "v1beta1", resource),
        kind=kind,
        type_name=f"io.k8s.metrics.pkg.apis.metrics.v1beta1.{kind}",
        namespaced=namespaced,
        verbs=("get", "list"),
        strategy=Strategy(),
        measured=True,
        columns=_COLUMNS,
        cells=cells,
    )


NODE_METRICS = _type("nodes", "NodeMetrics", namespaced=False, cells=_node_cells)
POD_METRICS = _type("pods", "PodMetrics", namespaced=True, cells=_pod_cells)

RESOURCE_TYPES = (NODE_METRICS, POD_METRICS)
