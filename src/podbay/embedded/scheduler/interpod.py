"""Pod affinity and anti-affinity, required part: counts of matching pods per topology value.

Pure. Source: pkg/scheduler/framework/plugins/interpodaffinity/filtering.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from podbay.embedded.scheduler.cache import NodeInfo, PodInfo

__all__ = ["PodAffinityState"]

Pair = tuple[str, str]
"""(topology key, value)."""

_AFFINITY = "node(s) didn't match pod affinity rules"
_ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
_EXISTING = "node(s) didn't satisfy existing pods anti-affinity rules"


@dataclass(slots=True)
class PodAffinityState:
    """What one pod's terms and the running pods' anti-affinity terms say of each topology value."""

    pod: PodInfo
    namespaces: Mapping[str, Mapping[str, str]]
    blocked_by_others: set[Pair] = field(default_factory=set)
    wanted: dict[Pair, int] = field(default_factory=dict)
    unwanted: dict[Pair, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        pod: PodInfo,
        nodes: Mapping[str, NodeInfo],
        with_anti_affinity: Mapping[str, tuple[PodInfo, str]],
        namespaces: Mapping[str, Mapping[str, str]],
    ) -> PodAffinityState | None:
        """None when no term concerns the pod, which is the usual case and costs nothing."""
        if not (pod.affinity or pod.anti_affinity or with_anti_affinity):
            return None
        state = cls(pod, namespaces)
        state._count_others(nodes, with_anti_affinity)
        if pod.affinity or pod.anti_affinity:
            for node in nodes.values():
                for other in node.pods.values():
                    state._count_own(node, other)
        return state

    def _count_others(
        self, nodes: Mapping[str, NodeInfo], with_anti_affinity: Mapping[str, tuple[PodInfo, str]]
    ) -> None:
        for other, node_name in with_anti_affinity.values():
            node = nodes.get(node_name)
            if node is None:
                continue
            for term in other.anti_affinity:
                value = node.labels.get(term.topology_key)
                if value is not None and term.matches(self.pod, self.namespaces):
                    self.blocked_by_others.add((term.topology_key, value))

    def _count_own(self, node: NodeInfo, other: PodInfo) -> None:
        if self.pod.affinity and all(t.matches(other, self.namespaces) for t in self.pod.affinity):
            for term in self.pod.affinity:
                _increase(self.wanted, node, term.topology_key)
        for term in self.pod.anti_affinity:
            if term.matches(other, self.namespaces):
                _increase(self.unwanted, node, term.topology_key)

    def reject(self, node: NodeInfo) -> tuple[str, bool] | None:
        """(reason, unresolvable) when the node does not do."""
        if not self._affinity_holds(node):
            return _AFFINITY, True
        for term in self.pod.anti_affinity:
            value = node.labels.get(term.topology_key)
            if value is not None and self.unwanted.get((term.topology_key, value)):
                return _ANTI_AFFINITY, False
        if any(node.labels.get(key) == value for key, value in self.blocked_by_others):
            return _EXISTING, False
        return None

    def _affinity_holds(self, node: NodeInfo) -> bool:
        found = True
        for term in self.pod.affinity:
            value = node.labels.get(term.topology_key)
            if value is None:
                return False
            found = found and bool(self.wanted.get((term.topology_key, value)))
        if found:
            return True
        # The first pod of a group that asks to be near its own kind must start somewhere.
        return not self.wanted and all(t.matches(self.pod, self.namespaces) for t in self.pod.affinity)


def _increase(counts: dict[Pair, int], node: NodeInfo, key: str) -> None:
    value = node.labels.get(key)
    if value is not None:
        counts[(key, value)] = counts.get((key, value), 0) + 1
