"""One attempt to place one pod: what the filters may look at, and what they answer.

Pure. `Cycle` is rebuilt for every attempt (and for every node that preemption plays through), so that nothing
computed from other pods' places can be stale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from podbay.embedded.scheduler.cache import NodeInfo, PodInfo
from podbay.embedded.scheduler.interpod import PodAffinityState
from podbay.embedded.scheduler.spread import SpreadState
from podbay.objects.meta import Object

__all__ = ["Cycle", "Rejection", "View"]


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a node does not take the pod. An unresolvable one cannot be cured by removing pods."""

    plugin: str
    reasons: tuple[str, ...]
    unresolvable: bool = False


@dataclass(slots=True)
class View:
    """The cluster as one attempt sees it. volumes maps "namespace/name" to the claim object."""

    nodes: Mapping[str, NodeInfo]
    with_anti_affinity: Mapping[str, tuple[PodInfo, str]] = field(default_factory=dict)
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    claims: Mapping[str, Object] = field(default_factory=dict)
    volumes: Mapping[str, Object] = field(default_factory=dict)
    delayed_classes: frozenset[str] = frozenset()
    """Storage classes whose claims are bound only after a node was chosen."""

    def replace_node(self, node: NodeInfo) -> View:
        """The same view with one node's pods changed."""
        gone = self.nodes[node.name].pods.keys() - node.pods.keys()
        anti = self.with_anti_affinity
        if any(uid in anti for uid in gone):
            anti = {uid: entry for uid, entry in anti.items() if uid not in gone}
        return View(
            {**self.nodes, node.name: node},
            anti,
            self.namespaces,
            self.claims,
            self.volumes,
            self.delayed_classes,
        )


@dataclass(slots=True)
class Cycle:
    """The pod, the view, and what the pre-filters computed from both."""

    pod: PodInfo
    view: View
    affinity: PodAffinityState | None
    spread: SpreadState | None

    @classmethod
    def of(cls, pod: PodInfo, view: View) -> Cycle:
        return cls(
            pod,
            view,
            PodAffinityState.of(pod, view.nodes, view.with_anti_affinity, view.namespaces),
            SpreadState.of(pod, view.nodes),
        )
