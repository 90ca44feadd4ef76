"""The quality-of-service class of a pod, which decides who is evicted first.

Source: pkg/apis/core/v1/helper/qos/qos.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from podbay.objects.quantity import Quantity

__all__ = ["compute_qos"]

_COUNTED = ("cpu", "memory")


def compute_qos(spec: Mapping[str, Any]) -> Literal["Guaranteed", "Burstable", "BestEffort"]:
    """Guaranteed when cpu and memory are limited everywhere and requests equal limits, BestEffort without any."""
    requests: dict[str, Quantity] = {}
    limits: dict[str, Quantity] = {}
    guaranteed = True
    pod_level = spec.get("resources")
    if pod_level is not None:
        _add(requests, pod_level.get("requests"))
        if pod_level.get("limits"):
            guaranteed = len(_add(limits, pod_level["limits"])) == len(_COUNTED)
    else:
        for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
            resources = container.get("resources") or {}
            _add(requests, resources.get("requests"))
            guaranteed &= len(_add(limits, resources.get("limits"))) == len(_COUNTED)
    if not requests and not limits:
        return "BestEffort"
    same = len(requests) == len(limits) and all(limits.get(name) == q for name, q in requests.items())
    return "Guaranteed" if guaranteed and same else "Burstable"


def _add(total: dict[str, Quantity], values: Mapping[str, Any] | None) -> set[str]:
    """Add the counted resources that are above zero; their names."""
    found = set()
    for name in _COUNTED:
        quantity = Quantity.from_json((values or {}).get(name))
        if quantity.sign > 0:
            found.add(name)
            total[name] = total[name] + quantity if name in total else quantity
    return found
