"""What a pod asks for in sum: requests and limits over its containers, with init containers running before the others.

Not for pod overhead or pod-level resources. Source: AggregateContainerRequests in
k8s.io/component-helpers/resource/helpers.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podbay.objects.quantity import Quantity

__all__ = ["aggregate_limits", "aggregate_requests"]

Totals = dict[str, Quantity]


def aggregate_requests(spec: Mapping[str, Any]) -> Totals:
    """Requests of all containers of a pod's spec."""
    return _aggregate(spec, "requests")


def aggregate_limits(spec: Mapping[str, Any]) -> Totals:
    """Limits of all containers of a pod's spec; a container without a limit counts as none."""
    return _aggregate(spec, "limits")


def _aggregate(spec: Mapping[str, Any], field: str) -> Totals:
    total: Totals = {}
    for container in spec.get("containers") or ():
        _add(total, _of(container, field))
    sidecars: Totals = {}
    at_start: Totals = {}
    for container in spec.get("initContainers") or ():
        own = _of(container, field)
        if container.get("restartPolicy") == "Always":
            _add(total, own)
            _add(sidecars, own)
            together = sidecars
        else:
            together = dict(own)
            _add(together, sidecars)
        _raise_to(at_start, together)
    _raise_to(total, at_start)
    return total


def _of(container: Mapping[str, Any], field: str) -> Totals:
    values = (container.get("resources") or {}).get(field) or {}
    return {name: Quantity.from_json(value) for name, value in values.items()}


def _add(total: Totals, more: Totals) -> None:
    for name, quantity in more.items():
        total[name] = total[name] + quantity if name in total else quantity


def _raise_to(total: Totals, least: Totals) -> None:
    for name, quantity in least.items():
        if name not in total or quantity > total[name]:
            total[name] = quantity
