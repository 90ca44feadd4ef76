"""Requests and limits as cgroup values. Pure.

Source: pkg/kubelet/cm/helpers_linux.go (MilliCPUToShares, MilliCPUToQuota), pkg/kubelet/qos/policy.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podbay.apiserver.quota.pod_resources import pod_limits, pod_requests
from podbay.node.podspec import all_containers
from podbay.node.specs import Limits
from podbay.objects.meta import Object
from podbay.objects.quantity import Quantity

__all__ = ["POD_PIDS", "container_limits", "cpu_quota", "cpu_shares", "pod_cgroup"]

POD_PIDS = 8192
"""Processes a pod may have, so that one that forks without end does not take the machine along."""

_SYSTEM_CRITICAL = 2_000_000_000


def cpu_shares(milli: int) -> int:
    """cgroup v1 weight of thousandths of a CPU."""
    return min(max(2, milli * 1024 // 1000), 262_144)


def cpu_quota(milli: int) -> int | None:
    """Microseconds per period of 100 ms; None without a limit."""
    return max(1000, milli * 100) if milli else None


def container_limits(pod: Object, container: Object, *, machine_memory: int) -> Limits:
    """What one container's cgroup holds. machine_memory in bytes, for the OOM score."""
    resources = container.get("resources") or {}
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    cpu_limit = _quantity(limits, "cpu").milli_value()
    cpu_request = _quantity(requests, "cpu").milli_value() or cpu_limit
    memory = _quantity(limits, "memory").value()
    return Limits(
        memory=memory or None,
        cpu_shares=cpu_shares(cpu_request),
        cpu_quota=cpu_quota(cpu_limit),
        oom_score_adj=_oom_score(pod, requests, machine_memory),
    )


def pod_cgroup(pod: Object) -> Limits:
    """What the whole pod may use: sums, and limits only where every container has one."""
    requests, limits = pod_requests(pod), pod_limits(pod)
    milli = requests["cpu"].milli_value() if "cpu" in requests else 0
    whole = (pod["spec"].get("resources") or {}).get("limits") or {}
    return Limits(
        memory=limits["memory"].value() if "memory" in whole or _all_limit(pod, "memory") else None,
        cpu_shares=cpu_shares(milli),
        cpu_quota=cpu_quota(limits["cpu"].milli_value())
        if "cpu" in whole or _all_limit(pod, "cpu")
        else None,
        pids=POD_PIDS,
    )


def _all_limit(pod: Object, resource: str) -> bool:
    return all(
        not _quantity((c.get("resources") or {}).get("limits") or {}, resource).is_zero
        for kind, c in all_containers(pod["spec"])
        if kind != "ephemeral"
    )


def _oom_score(pod: Object, requests: Mapping[str, Any], machine_memory: int) -> int:
    """Whom the kernel kills first when the machine runs out of memory."""
    qos = (pod.get("status") or {}).get("qosClass")
    if qos == "Guaranteed" or (pod["spec"].get("priority") or 0) >= _SYSTEM_CRITICAL:
        return -997
    if qos == "BestEffort":
        return 1000
    memory = _quantity(requests, "memory").value()
    return min(999, max(3, 1000 - 1000 * memory // max(1, machine_memory)))


def _quantity(values: Mapping[str, Any], name: str) -> Quantity:
    return Quantity.from_json(values.get(name))
