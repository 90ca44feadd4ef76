"""Whether a pod that was bound to this node can be taken in: room and node selector. Pure.

The scheduler sees to both; pods that name their node themselves have passed it by.
Source: pkg/kubelet/lifecycle/predicate.go (words and reasons), pkg/kubelet/kubelet.go (rejectPod).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from podbay.apiserver.quota.pod_resources import pod_requests
from podbay.node.podspec import is_terminal
from podbay.node.view import Outcome
from podbay.objects.meta import Object
from podbay.objects.quantity import Quantity

__all__ = ["refusal"]


def refusal(
    pod: Object, others: Iterable[Object], capacity: Mapping[str, str], labels: Mapping[str, str]
) -> Outcome | None:
    """Why the pod is turned away; None when it is taken in. others are the node's pods beside it."""
    wanted = pod["spec"].get("nodeSelector") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        words = "node(s) didn't match Pod's node affinity/selector"
        return Outcome("NodeAffinity", f"Predicate NodeAffinity failed: {words}")
    requests = pod_requests(pod) | {"pods": Quantity.from_value(1)}
    used: dict[str, Quantity] = {}
    for other in others:
        if is_terminal(other):
            continue
        for name, quantity in (pod_requests(other) | {"pods": Quantity.from_value(1)}).items():
            used[name] = used[name] + quantity if name in used else quantity
    for name, request in requests.items():
        there = Quantity.from_json(capacity.get(name))
        taken = used.get(name, Quantity(0))
        if not request.is_zero and request.nanos + taken.nanos > there.nanos:
            numbers = f"requested: {_count(name, request)}, used: {_count(name, taken)}, capacity: {_count(name, there)}"
            return Outcome(f"OutOf{name}", f"Node didn't have enough resource: {name}, {numbers}")
    return None


def _count(name: str, quantity: Quantity) -> int:
    """CPU is counted in thousandths."""
    return quantity.milli_value() if name == "cpu" else quantity.value()
