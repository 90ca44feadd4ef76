"""Topology spread constraints with `whenUnsatisfiable: DoNotSchedule`, and counts for those that only prefer.

Pure. Source: pkg/scheduler/framework/plugins/podtopologyspread/{common,filtering}.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from podbay.embedded.scheduler.cache import NodeInfo, PodInfo
from podbay.embedded.scheduler.node_affinity import matches_required
from podbay.embedded.scheduler.taints import first_untolerated
from podbay.objects.selectors import LabelRequirement, LabelSelector

__all__ = ["Constraint", "SpreadState", "constraints_of", "count_matching"]

_NOT_MATCHED = "node(s) didn't match pod topology spread constraints"
_NO_LABEL = _NOT_MATCHED + " (missing required label)"


@dataclass(frozen=True, slots=True)
class Constraint:
    """One entry of spec.topologySpreadConstraints."""

    max_skew: int
    topology_key: str
    selector: LabelSelector
    min_domains: int
    honor_affinity: bool
    honor_taints: bool


def constraints_of(pod: PodInfo, mode: str) -> tuple[Constraint, ...]:
    """The pod's constraints with the given `whenUnsatisfiable`."""
    return tuple(
        _constraint(raw, pod)
        for raw in pod.pod["spec"].get("topologySpreadConstraints") or ()
        if raw.get("whenUnsatisfiable") == mode
    )


def _constraint(raw: Mapping[str, Any], pod: PodInfo) -> Constraint:
    selector = LabelSelector.from_object(raw.get("labelSelector"))
    keys = [key for key in raw.get("matchLabelKeys") or () if key in pod.labels]
    if keys and not selector.nothing:
        more = tuple(LabelRequirement(key, "=", (pod.labels[key],)) for key in keys)
        selector = LabelSelector(selector.requirements + more)
    return Constraint(
        max_skew=int(raw["maxSkew"]),
        topology_key=raw["topologyKey"],
        selector=selector,
        min_domains=int(raw.get("minDomains") or 1),
        honor_affinity=raw.get("nodeAffinityPolicy") != "Ignore",
        honor_taints=raw.get("nodeTaintsPolicy") == "Honor",
    )


def _counts(constraint: Constraint, pod: PodInfo, node: NodeInfo) -> bool:
    """Whether the node is one of those whose pods are counted."""
    spec = pod.pod["spec"]
    if constraint.honor_affinity and not matches_required(spec, node.labels, node.name):
        return False
    return not constraint.honor_taints or not first_untolerated(
        node.taints, spec.get("tolerations") or (), ("NoSchedule", "NoExecute")
    )


def count_matching(constraint: Constraint, pod: PodInfo, node: NodeInfo) -> int:
    """Pods of the same namespace on the node that the constraint selects, ending ones left out."""
    return sum(
        1
        for other in node.pods.values()
        if other.namespace == pod.namespace
        and not other.terminating
        and constraint.selector.matches(other.labels)
    )


@dataclass(slots=True)
class SpreadState:
    """Matching pods per topology value, for each hard constraint."""

    pod: PodInfo
    constraints: Sequence[Constraint]
    counts: list[dict[str, int]] = field(default_factory=list)

    @classmethod
    def of(cls, pod: PodInfo, nodes: Mapping[str, NodeInfo]) -> SpreadState | None:
        """None when the pod has no hard constraint."""
        if not pod.pod["spec"].get("topologySpreadConstraints"):
            return None
        constraints = constraints_of(pod, "DoNotSchedule")
        if not constraints:
            return None
        counts: list[dict[str, int]] = [{} for _ in constraints]
        for node in nodes.values():
            if any(c.topology_key not in node.labels for c in constraints):
                continue
            for constraint, domain in zip(constraints, counts, strict=True):
                if _counts(constraint, pod, node):
                    value = node.labels[constraint.topology_key]
                    domain[value] = domain.get(value, 0) + count_matching(constraint, pod, node)
        return cls(pod, constraints, counts)

    def reject(self, node: NodeInfo) -> tuple[str, bool] | None:
        """(reason, unresolvable) when the node does not do."""
        for constraint, domain in zip(self.constraints, self.counts, strict=True):
            value = node.labels.get(constraint.topology_key)
            if value is None:
                return _NO_LABEL, True
            lowest = min(domain.values(), default=0) if len(domain) >= constraint.min_domains else 0
            itself = 1 if constraint.selector.matches(self.pod.labels) else 0
            if domain.get(value, 0) + itself - lowest > constraint.max_skew:
                return _NOT_MATCHED, False
        return None
