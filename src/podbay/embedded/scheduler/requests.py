"""What a pod asks of a node: resource requests, aware of init containers, sidecars, pod-level resources and overhead.

Amounts are integers: thousandths for cpu, whole units (bytes, devices) for all else.
Source: k8s.io/component-helpers/resource/helpers.go (PodRequests), pkg/scheduler/framework/types.go (Resource,
non-zero requests of pkg/scheduler/util/pod_resources.go).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podbay.objects.meta import Object
from podbay.objects.quantity import Quantity

__all__ = ["amounts", "host_ports", "is_sidecar", "nonzero_requests", "pod_requests"]

_DEFAULT_MILLI_CPU = 100
_DEFAULT_MEMORY = 200 * 1024 * 1024
"""Stand-ins for containers without requests, so that many of them do not all land on one node."""


def amounts(resource_list: Mapping[str, Any] | None) -> dict[str, int]:
    """A ResourceList as integers (see the module docstring for units)."""
    if not resource_list:
        return {}
    return {
        name: Quantity.from_json(text).milli_value() if name == "cpu" else Quantity.from_json(text).value()
        for name, text in resource_list.items()
    }


def is_sidecar(container: Mapping[str, Any]) -> bool:
    """An init container that keeps running beside the main ones."""
    return container.get("restartPolicy") == "Always"


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _raise_to(total: dict[str, int], floor: Mapping[str, int]) -> None:
    for name, amount in floor.items():
        if amount > total.get(name, 0):
            total[name] = amount


def _container_requests(container: Mapping[str, Any], missing: Mapping[str, int]) -> dict[str, int]:
    requests = amounts((container.get("resources") or {}).get("requests"))
    return {**missing, **requests} if missing else requests


def _aggregate(spec: Mapping[str, Any], missing: Mapping[str, int]) -> dict[str, int]:
    total: dict[str, int] = {}
    for container in spec.get("containers") or ():
        _add(total, _container_requests(container, missing))
    sidecars: dict[str, int] = {}
    initializing: dict[str, int] = {}
    for container in spec.get("initContainers") or ():
        requests = _container_requests(container, missing)
        if is_sidecar(container):
            _add(total, requests)
            _add(sidecars, requests)
            requests = sidecars
        else:
            _add(requests, sidecars)
        _raise_to(initializing, requests)
    _raise_to(total, initializing)
    return total


def pod_requests(pod: Object, *, missing: Mapping[str, int] | None = None) -> dict[str, int]:
    """The pod's effective requests; `missing` stands in for requests that a container does not state."""
    spec = pod["spec"]
    total = _aggregate(spec, missing or {})
    pod_level = amounts((spec.get("resources") or {}).get("requests"))
    total.update({n: a for n, a in pod_level.items() if n in ("cpu", "memory") or n.startswith("hugepages-")})
    _add(total, amounts(spec.get("overhead")))
    return total


def nonzero_requests(pod: Object) -> tuple[int, int]:
    """(thousandths of a cpu, bytes of memory) for scoring, with stand-ins for containers without requests."""
    total = pod_requests(pod, missing={"cpu": _DEFAULT_MILLI_CPU, "memory": _DEFAULT_MEMORY})
    return total.get("cpu", 0), total.get("memory", 0)


def host_ports(pod: Object) -> frozenset[tuple[str, str, int]]:
    """(host IP, protocol, port) of every host port; "0.0.0.0" stands for all addresses."""
    spec = pod["spec"]
    containers = list(spec.get("containers") or ())
    containers += [c for c in spec.get("initContainers") or () if is_sidecar(c)]
    return frozenset(
        (port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", int(port["hostPort"]))
        for container in containers
        for port in container.get("ports") or ()
        if port.get("hostPort")
    )
