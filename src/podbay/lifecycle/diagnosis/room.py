"""How much of a resource a pod asks for, and how much the largest node has.

Source: k8s.io/component-helpers/resource (PodRequests): the sum of what runs together, or the largest init container.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from podbay.lifecycle.diagnosis.reading import as_list, as_map
from podbay.objects.quantity import Quantity

__all__ = ["largest", "quantity", "readable", "requested"]

_BYTES = ("memory", "ephemeral-storage", "hugepages-")
_UNITS = ((2**40, "Ti"), (2**30, "Gi"), (2**20, "Mi"))
_LONG = 6
"""Characters of a quantity that nobody reads at a glance: nodes tell their memory in Ki."""


def quantity(value: Any) -> Quantity | None:
    """A quantity; None for what is none."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    try:
        return Quantity.from_json(value)
    except (ValueError, OverflowError):
        return None


def requested(pod: Mapping[str, Any], resource: str) -> Quantity:
    """What the scheduler counts for the pod; what cannot be read counts as nothing."""
    spec = as_map(pod.get("spec"))
    together = Quantity(0)
    alone = Quantity(0)
    for container in map(as_map, as_list(spec.get("initContainers"))):
        own = _request(container, resource)
        if container.get("restartPolicy") == "Always":
            together = together + own
            alone = max(alone, together)
        else:
            alone = max(alone, together + own)
    for container in map(as_map, as_list(spec.get("containers"))):
        together = together + _request(container, resource)
    overhead = quantity(as_map(spec.get("overhead")).get(resource)) or Quantity(0)
    return max(together, alone) + overhead


def _request(container: Mapping[str, Any], resource: str) -> Quantity:
    resources = as_map(container.get("resources"))
    asked = as_map(resources.get("requests")).get(resource)
    # The API server fills a missing request with the limit.
    found = quantity(asked if asked is not None else as_map(resources.get("limits")).get(resource))
    return found or Quantity(0)


def largest(nodes: Iterable[Mapping[str, Any]], resource: str) -> Quantity | None:
    """The most that any of the nodes gives to pods; None when that is not known of one of them."""
    most: Quantity | None = None
    for node in nodes:
        offered = as_map(as_map(node.get("status")).get("allocatable"))
        # A node that tells what it has and does not name the resource (a GPU) has none of it.
        found = quantity(offered.get(resource, 0)) if offered else None
        if found is None:
            return None
        most = found if most is None else max(most, found)
    return most


def readable(resource: str, amount: Quantity) -> str:
    """The amount as a person reads it; sizes that were written too finely lose what is below a tenth of their unit."""
    text = str(amount)
    if not resource.startswith(_BYTES) or len(text) <= _LONG:
        return text
    for size, unit in _UNITS:
        if amount.value() >= size:
            tenths = amount.value() * 10 // size
            return f"{tenths // 10}.{tenths % 10}{unit}".replace(".0", "")
    return text
