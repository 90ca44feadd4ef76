"""What each kind of object costs a ResourceQuota.

Pods cost compute resources while they live, claims cost storage, services cost ports; everything else is only
counted. Source: pkg/quota/v1/evaluator/core/*.go and k8s.io/apiserver/pkg/quota/v1/{resources.go,generic}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from podbay.apiserver.quota.lists import ZERO, ResourceList, add, mask, parse_list
from podbay.apiserver.quota.pod_resources import has_pod_level_resources, pod_limits, pod_requests
from podbay.apiserver.quota.scopes import is_terminating, matches_scopes
from podbay.objects.meta import Object, annotations_of
from podbay.objects.quantity import Quantity
from podbay.objects.resource_names import is_extended_resource_name, is_native_resource

__all__ = ["calculate", "charges_on", "constraint_violation", "matching_resources", "usage_of"]

_ONE = Quantity.from_value(1)
_STORAGE_CLASS = ".storageclass.storage.k8s.io/"
_STORAGE_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"

_POD_RESOURCES = frozenset(
    ["count/pods", "pods"]
    + [p + r for r in ("cpu", "memory", "ephemeral-storage") for p in ("", "requests.", "limits.")]
)
_POD_PREFIXES = ("hugepages-", "requests.hugepages-")
_CLAIM_RESOURCES = ("persistentvolumeclaims", "requests.storage")
_SERVICE_RESOURCES = frozenset(
    ["count/services", "services", "services.nodeports", "services.loadbalancers"],
)
_COUNT_ALIASES = {
    "configmaps": "configmaps",
    "resourcequotas": "resourcequotas",
    "replicationcontrollers": "replicationcontrollers",
    "secrets": "secrets",
}
_ALWAYS_EVALUATED = ("pods", "services", "persistentvolumeclaims", *_COUNT_ALIASES)

_MUST_BE_SPECIFIED = frozenset(
    [p + r for r in ("cpu", "memory") for p in ("", "requests.", "limits.")],
)
"""Only these make a quota demand values of every container; Kubernetes calls it a mistake it keeps."""


def usage_of(key: str, obj: Object, *, now: datetime | None = None) -> ResourceList:
    """What one object of the collection `key` (ResourceType.key) counts, by quota resource name.

    now lets a pod that is stuck past its deletion time go free; None charges it.
    """
    return _evaluator(key).usage(obj, now)


def matching_resources(key: str, names: Iterable[str]) -> list[str]:
    """Those of the quota resource names that objects of the collection `key` can count for."""
    matches = _evaluator(key).matches
    return sorted({name for name in names if matches(name)})


def constraint_violation(key: str, obj: Object, *, required: Iterable[str]) -> str:
    """Why the object cannot be measured for the required resources ("must specify …"), or the empty string."""
    if key != "pods" or has_pod_level_resources(obj):
        return ""
    demanded = _MUST_BE_SPECIFIED.intersection(required)
    spec = obj.get("spec") or {}
    missing: dict[str, set[str]] = {}
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        resources = container.get("resources") or {}
        given = _compute_usage(parse_list(resources.get("requests")), parse_list(resources.get("limits")))
        for name in demanded.difference(given):
            missing.setdefault(name, set()).add(container.get("name") or "")
    if not missing:
        return ""
    parts = [f"{name} for: {','.join(sorted(missing[name]))}" for name in sorted(missing)]
    return f"must specify {'; '.join(parts)}"


def charges_on(key: str, operation: str, *, subresource: str, obj: Object, old: Object | None) -> bool:
    """Whether this write of an object of the collection `key` may change what a quota counts."""
    if key == "pods":
        if subresource == "resize":
            return operation == "UPDATE"
        if subresource:
            return False
        if operation == "UPDATE" and old is not None:
            return is_terminating(old) != is_terminating(obj)
        return operation == "CREATE"
    if key == "services":
        return operation in ("CREATE", "UPDATE")
    if key == "persistentvolumeclaims":
        return operation in ("CREATE", "UPDATE")
    return operation == "CREATE" and not subresource


def calculate(
    quota: Object, objects_by_key: Mapping[str, Iterable[Object]], *, now: datetime | None = None
) -> ResourceList:
    """What the objects of the quota's namespace use, for every hard resource that can be measured.

    objects_by_key holds each collection of the namespace under its ResourceType.key; a collection that is
    missing counts as empty if it has a legacy name (secrets), else its `count/` resource is left out.
    """
    hard = list((quota.get("spec") or {}).get("hard") or {})
    used: ResourceList = {}
    for key in dict.fromkeys([*_ALWAYS_EVALUATED, *objects_by_key]):
        names = matching_resources(key, hard)
        if not names:
            continue
        used = add(used, dict.fromkeys(names, ZERO))
        for obj in objects_by_key.get(key, ()):
            if matches_scopes(quota, obj, key=key):
                used = add(used, mask(usage_of(key, obj, now=now), names))
    return used


@dataclass(frozen=True, slots=True)
class _Evaluator:
    matches: Callable[[str], bool]
    usage: Callable[[Object, datetime | None], ResourceList]


def _evaluator(key: str) -> _Evaluator:
    return _SPECIAL.get(key) or _object_count(key)


def _object_count(key: str) -> _Evaluator:
    names = {f"count/{key}"}
    if key in _COUNT_ALIASES:
        names.add(_COUNT_ALIASES[key])
    return _Evaluator(names.__contains__, lambda obj, now: dict.fromkeys(names, _ONE))


def _pod_matches(name: str) -> bool:
    if name in _POD_RESOURCES or name.startswith(_POD_PREFIXES):
        return True
    # Extended resources cannot be overcommitted, so only their requests can be limited.
    return not is_native_resource(name) and name.startswith("requests.")


def _pod_usage(pod: Object, now: datetime | None) -> ResourceList:
    counted = {"count/pods": _ONE}
    if not _is_charged(pod, now):
        return counted
    return add(counted, _compute_usage(pod_requests(pod), pod_limits(pod)))


def _is_charged(pod: Object, now: datetime | None) -> bool:
    """False for a finished pod, and for one that should be gone but is stuck (its node is lost)."""
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return False
    metadata = pod.get("metadata") or {}
    deleted, grace = metadata.get("deletionTimestamp"), metadata.get("deletionGracePeriodSeconds")
    if now is None or deleted is None or grace is None:
        return True
    return now <= datetime.fromisoformat(deleted) + timedelta(seconds=grace)


def _compute_usage(requests: ResourceList, limits: ResourceList) -> ResourceList:
    usage: ResourceList = {"pods": _ONE}
    for name in ("cpu", "memory", "ephemeral-storage"):
        if name in requests:
            usage[name] = usage[f"requests.{name}"] = requests[name]
        if name in limits:
            usage[f"limits.{name}"] = limits[name]
    for name, quantity in requests.items():
        if name.startswith("hugepages-"):
            usage[name] = usage[f"requests.{name}"] = quantity
        elif is_extended_resource_name(name):
            usage[f"requests.{name}"] = quantity
    return usage


def _claim_matches(name: str) -> bool:
    if name == "count/persistentvolumeclaims" or name in _CLAIM_RESOURCES:
        return True
    return name.endswith(tuple(_STORAGE_CLASS + resource for resource in _CLAIM_RESOURCES))


def _claim_usage(claim: Object, now: datetime | None) -> ResourceList:
    usage: ResourceList = {"persistentvolumeclaims": _ONE, "count/persistentvolumeclaims": _ONE}
    spec = claim.get("spec") or {}
    storage_class = annotations_of(claim).get(_STORAGE_CLASS_ANNOTATION, spec.get("storageClassName") or "")
    storage = _claim_storage(spec, claim.get("status") or {})
    if storage is not None:
        usage["requests.storage"] = storage
    if storage_class:
        for name in _CLAIM_RESOURCES:
            if name in usage:
                usage[storage_class + _STORAGE_CLASS + name] = usage[name]
    return usage


def _claim_storage(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Quantity | None:
    requested = parse_list((spec.get("resources") or {}).get("requests")).get("storage")
    if requested is None:
        return None
    allocated = parse_list(status.get("allocatedResources")).get("storage")
    if allocated is not None and allocated > requested:
        requested = allocated
    return requested.rounded_up(0)


def _service_usage(service: Object, now: datetime | None) -> ResourceList:
    spec = service.get("spec") or {}
    ports = spec.get("ports") or ()
    node_ports = balancers = 0
    if spec.get("type") == "NodePort":
        node_ports = len(ports)
    elif spec.get("type") == "LoadBalancer":
        balancers = 1
        if spec.get("allocateLoadBalancerNodePorts") is False:
            node_ports = sum(1 for port in ports if port.get("nodePort"))
        else:
            node_ports = len(ports)
    return {
        "count/services": _ONE,
        "services": _ONE,
        "services.nodeports": Quantity.from_value(node_ports),
        "services.loadbalancers": Quantity.from_value(balancers),
    }


_SPECIAL = {
    "pods": _Evaluator(_pod_matches, _pod_usage),
    "persistentvolumeclaims": _Evaluator(_claim_matches, _claim_usage),
    "services": _Evaluator(_SERVICE_RESOURCES.__contains__, _service_usage),
}
