"""What a pod as a whole requests and is limited to: containers, sidecars, init containers, overhead.

Source: k8s.io/component-helpers/resource/helpers.go (PodRequests, PodLimits). Resources in the pod's status
(in-place resize) are not looked at.
"""

from __future__ import annotations

from typing import Any

from podbay.apiserver.quota.lists import ResourceList, add, maximum, parse_list
from podbay.objects.meta import Object

__all__ = ["aggregate", "has_pod_level_resources", "is_pod_level_resource", "pod_limits", "pod_requests"]


def pod_requests(pod: Object) -> ResourceList:
    """The requests that count for scheduling and quota, overhead included."""
    spec = pod.get("spec") or {}
    total = aggregate(spec, "requests", pod_level=True)
    return add(total, parse_list(spec.get("overhead")))


def pod_limits(pod: Object) -> ResourceList:
    """The limits of the whole pod; overhead adds only to limits that are set and not zero."""
    spec = pod.get("spec") or {}
    total = aggregate(spec, "limits", pod_level=True)
    overhead = {
        name: quantity
        for name, quantity in parse_list(spec.get("overhead")).items()
        if name in total and not total[name].is_zero
    }
    return add(total, overhead)


def aggregate(spec: dict[str, Any], part: str, *, pod_level: bool) -> ResourceList:
    """Sum `part` ("requests" or "limits") over the containers of a pod spec, without overhead.

    Init containers run one after another, each beside the sidecars started before it, so they count with
    their maximum. With pod_level, `spec.resources` replaces the sums of the resources it may set.
    """
    total: ResourceList = {}
    for container in spec.get("containers") or ():
        total = add(total, _of_container(container, part))
    sidecars: ResourceList = {}
    initialisation: ResourceList = {}
    for container in spec.get("initContainers") or ():
        own = _of_container(container, part)
        if container.get("restartPolicy") == "Always":
            total = add(total, own)
            sidecars = add(sidecars, own)
            own = sidecars
        else:
            own = add(own, sidecars)
        initialisation = maximum(initialisation, own)
    total = maximum(total, initialisation)
    if pod_level:
        whole = parse_list((spec.get("resources") or {}).get(part))
        total.update({name: q for name, q in whole.items() if is_pod_level_resource(name)})
    return total


def is_pod_level_resource(name: str) -> bool:
    """Whether `spec.resources` of a pod may set this resource."""
    return name in ("cpu", "memory") or name.startswith("hugepages-")


def has_pod_level_resources(pod: Object) -> bool:
    """Whether `spec.resources` of the pod sets a resource that it may set."""
    resources = (pod.get("spec") or {}).get("resources") or {}
    names = [*(resources.get("requests") or ()), *(resources.get("limits") or ())]
    return any(is_pod_level_resource(name) for name in names)


def _of_container(container: dict[str, Any], part: str) -> ResourceList:
    return parse_list((container.get("resources") or {}).get(part))
