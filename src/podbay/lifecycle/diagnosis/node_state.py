"""What a node tells of its own end: taints, labels and conditions that Kubernetes and the cloud providers set.

Sources: core/v1 well-known taints; AWS node termination handler, Karpenter, EKS, GKE and AKS for spot capacity.
"""

from __future__ import annotations

from typing import Final

from podbay.lifecycle.diagnosis.reading import as_list, as_map, as_text
from podbay.lifecycle.diagnosis.sight import Sight

__all__ = ["is_reclaimed", "is_spot", "is_unreachable"]

_SPOT_LABELS: Final = {
    "karpenter.sh/capacity-type": "spot",
    "eks.amazonaws.com/capacityType": "SPOT",
    "cloud.google.com/gke-spot": "true",
    "cloud.google.com/gke-preemptible": "true",
    "kubernetes.azure.com/scalesetpriority": "spot",
}
_SPOT_TAINTS: Final = frozenset({"aws-node-termination-handler/spot-itn"})
_IMPENDING: Final = frozenset({"cloud.google.com/impending-node-termination"})
"""Says that the machine is going, on spot capacity because the provider wants it back."""
_SPOT_EVENTS: Final = ("SpotInterruption", "SpotInterrupted", "PreemptScheduled", "SpotInstanceInterruption")
_GONE_TAINTS: Final = frozenset({"node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready"})


def _taints(sight: Sight) -> set[str]:
    return {
        as_text(as_map(each).get("key")) for each in as_list(as_map(sight.node.get("spec")).get("taints"))
    }


def is_spot(sight: Sight) -> str:
    """The label by which the pod's node is spot capacity, as `key=value`; empty when none says so."""
    labels = as_map(as_map(sight.node.get("metadata")).get("labels"))
    return next((f"{key}={value}" for key, value in _SPOT_LABELS.items() if labels.get(key) == value), "")


def is_reclaimed(sight: Sight) -> bool:
    """Whether it is proven that the provider took the node back; being spot capacity alone proves nothing."""
    taints = _taints(sight)
    if taints & _SPOT_TAINTS or (taints & _IMPENDING and is_spot(sight)):
        return True
    return any(each.kind == "Node" for each in sight.told(*_SPOT_EVENTS))


def is_unreachable(sight: Sight) -> bool:
    """Whether the pod's node is known not to answer."""
    if _taints(sight) & _GONE_TAINTS:
        return True
    conditions = map(as_map, as_list(as_map(sight.node.get("status")).get("conditions")))
    return any(
        each.get("type") == "Ready" and each.get("status") in ("False", "Unknown") for each in conditions
    )
