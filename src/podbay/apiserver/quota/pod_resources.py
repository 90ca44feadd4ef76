"""What a pod as a whole requests and is limited to: its containers, its own resources, overhead.

Source: k8s.io/component-helpers/resource/helpers.go (PodRequests, PodLimits). Resources in the pod's status
(in-place resize) are not looked at.
"""

from __future__ import annotations

from typing import Any

from podbay.apiserver.kinds.pod_totals import aggregate_limits, aggregate_requests
from podbay.apiserver.quota.lists import ResourceList, add, parse_list
from podbay.objects.meta import Object

__all__ = [
    "has_pod_level_resources",
    "is_pod_level_resource",
    "pod_limits",
    "pod_requests",
    "without_overhead",
]


def pod_requests(pod: Object) -> ResourceList:
    """The requests that count for scheduling and quota, overhead included."""
    spec = pod.get("spec") or {}
    total = without_overhead(spec, "requests")
    return add(total, parse_list(spec.get("overhead")))


def pod_limits(pod: Object) -> ResourceList:
    """The limits of the whole pod; overhead adds only to limits that are set and not zero."""
    spec = pod.get("spec") or {}
    total = without_overhead(spec, "limits")
    overhead = {
        name: quantity
        for name, quantity in parse_list(spec.get("overhead")).items()
        if name in total and not total[name].is_zero
    }
    return add(total, overhead)


def without_overhead(spec: dict[str, Any], part: str) -> ResourceList:
    """The `part` ("requests" or "limits") of a pod spec; `spec.resources` replaces sums where it may."""
    total = aggregate_requests(spec) if part == "requests" else aggregate_limits(spec)
    whole = parse_list((spec.get("resources") or {}).get(part))
    return {**total, **{name: q for name, q in whole.items() if is_pod_level_resource(name)}}


def is_pod_level_resource(name: str) -> bool:
    """Whether `spec.resources` of a pod may set this resource."""
    return name in ("cpu", "memory") or name.startswith("hugepages-")


def has_pod_level_resources(pod: Object) -> bool:
    """Whether `spec.resources` of the pod sets a resource that it may set."""
    resources = (pod.get("spec") or {}).get("resources") or {}
    names = [*(resources.get("requests") or ()), *(resources.get("limits") or ())]
    return any(is_pod_level_resource(name) for name in names)
