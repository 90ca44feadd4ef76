"""What a node's heartbeats and conditions mean: Unknown conditions, taints, eviction times. Pure.

Source: pkg/controller/nodelifecycle/node_lifecycle_controller.go, pkg/controller/tainteviction/taint_eviction.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from podbay.embedded.scheduler.taints import tolerations_for
from podbay.objects.events import timestamp
from podbay.objects.meta import Object

__all__ = [
    "NOT_READY",
    "UNREACHABLE",
    "eviction_delay",
    "not_ready_conditions",
    "ready_status",
    "unknown_conditions",
    "wanted_taints",
]

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_BY_CONDITION = {
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
}
_OURS = frozenset([*_BY_CONDITION.values(), _UNSCHEDULABLE])
_TRACKED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


def ready_status(node: Object) -> str:
    """True, False or Unknown; Unknown as well when the node never said."""
    for condition in (node.get("status") or {}).get("conditions") or ():
        if condition["type"] == "Ready":
            return str(condition["status"])
    return "Unknown"


def unknown_conditions(node: Object, now: datetime) -> list[Object] | None:
    """The conditions of a node whose heartbeats stopped, or None when they say so already."""
    moment = timestamp(now)
    conditions = [dict(c) for c in (node.get("status") or {}).get("conditions") or ()]
    known = {c["type"]: c for c in conditions}
    changed = False
    for kind in _TRACKED:
        condition = known.get(kind)
        if condition is None:
            changed = True
            conditions.append(
                {
                    "type": kind,
                    "status": "Unknown",
                    "reason": "NodeStatusNeverUpdated",
                    "message": "Kubelet never posted node status.",
                    "lastHeartbeatTime": node["metadata"].get("creationTimestamp"),
                    "lastTransitionTime": moment,
                }
            )
        elif condition["status"] != "Unknown":
            changed = True
            condition |= {
                "status": "Unknown",
                "reason": "NodeStatusUnknown",
                "message": "Kubelet stopped posting node status.",
                "lastTransitionTime": moment,
            }
    return conditions if changed else None


def wanted_taints(node: Object, now: datetime) -> list[Object] | None:
    """The node's taints as its conditions demand, or None when they are so already."""
    spec, status = node.get("spec") or {}, node.get("status") or {}
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    no_schedule = [key for (kind, bad), key in _BY_CONDITION.items() if conditions.get(kind) == bad]
    if spec.get("unschedulable"):
        no_schedule.append(_UNSCHEDULABLE)
    no_execute = [key for key in no_schedule if key in (NOT_READY, UNREACHABLE)]
    wanted = {(key, "NoSchedule") for key in no_schedule} | {(key, "NoExecute") for key in no_execute}
    current = spec.get("taints") or []
    kept = [t for t in current if not _is_ours(t) or (t["key"], t["effect"]) in wanted]
    present = {(t["key"], t["effect"]) for t in kept}
    added = [
        {"key": key, "effect": effect, "timeAdded": timestamp(now)}
        for key, effect in sorted(wanted - present)
    ]
    taints = [*kept, *added]
    return None if taints == current else taints


def _is_ours(taint: Mapping[str, Any]) -> bool:
    if taint.get("effect") == "NoExecute":
        return taint.get("key") in (NOT_READY, UNREACHABLE)
    return taint.get("effect") == "NoSchedule" and taint.get("key") in _OURS


def not_ready_conditions(pod: Object, now: datetime) -> list[Object] | None:
    """The conditions of a pod on a node that is not ready, or None when it is not ready anyway."""
    conditions = [dict(c) for c in (pod.get("status") or {}).get("conditions") or ()]
    for condition in conditions:
        if condition["type"] == "Ready" and condition["status"] == "True":
            condition |= {"status": "False", "lastTransitionTime": timestamp(now)}
            return conditions
    return None


def eviction_delay(pod: Object, taints: Sequence[Mapping[str, Any]]) -> float | None:
    """Seconds the pod may stay under the node's NoExecute taints; None for as long as it likes."""
    tolerations = pod["spec"].get("tolerations") or ()
    limits: list[float] = []
    for taint in taints:
        if taint.get("effect") != "NoExecute":
            continue
        covering = tolerations_for(taint, tolerations)
        if not covering:
            return 0.0
        limits += [max(0.0, float(t["tolerationSeconds"])) for t in covering if "tolerationSeconds" in t]
    return min(limits) if limits else None
