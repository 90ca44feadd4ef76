"""The decision about one pod: a node, or why none, and whom to preempt.

Pure but for the injected random source that breaks ties. Source: pkg/scheduler/schedule_one.go.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from podbay.embedded.scheduler.cache import NodeInfo, PodInfo
from podbay.embedded.scheduler.cycle import Cycle, Rejection, View
from podbay.embedded.scheduler.filters import pre_filter, run_filters
from podbay.embedded.scheduler.messages import NO_NODES, fit_error, post_filter_message
from podbay.embedded.scheduler.preemption import Preemption, preempt
from podbay.embedded.scheduler.scoring import choose_node

__all__ = ["Placement", "Unschedulable", "schedule"]


@dataclass(frozen=True, slots=True)
class Placement:
    """The pod goes to this node."""

    node: str


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """No node takes the pod. plugins rejected it; those in room_helps would give in if pods went away."""

    message: str
    plugins: frozenset[str] = frozenset()
    room_helps: frozenset[str] = frozenset()
    preemption: Preemption | None = None


@dataclass(slots=True)
class Nominations:
    """Pods that wait for a node they preempted others on: node name -> pods."""

    by_node: dict[str, list[PodInfo]] = field(default_factory=dict)

    @classmethod
    def of(cls, nominated: Mapping[str, tuple[PodInfo, str]]) -> Nominations:
        found = cls()
        for pod, node in nominated.values():
            found.by_node.setdefault(node, []).append(pod)
        return found

    def before(self, pod: PodInfo, node: str) -> list[PodInfo]:
        """Those on node that pod must not take the room of."""
        return [p for p in self.by_node.get(node, ()) if p.priority >= pod.priority and p.uid != pod.uid]


def schedule(
    pod: PodInfo, view: View, nominated: Mapping[str, tuple[PodInfo, str]], rng: random.Random
) -> Placement | Unschedulable:
    """Filter, score, and when nothing fits see whether preemption helps."""
    if not view.nodes:
        return Unschedulable(NO_NODES, frozenset(["NoNodes"]))
    cycle = Cycle.of(pod, view)
    rejection = pre_filter(cycle)
    if rejection is not None:
        text = fit_error(
            len(view.nodes), pre_filter=", ".join(rejection.reasons), post_filter=post_filter_message(None)
        )
        return Unschedulable(text, frozenset([rejection.plugin]))
    nominations = Nominations.of(nominated)
    rejections: dict[str, Rejection] = {}
    fitting: list[NodeInfo] = []
    for node in view.nodes.values():
        rejection = _ask(cycle, node, nominations)
        if rejection is None:
            fitting.append(node)
        else:
            rejections[node.name] = rejection
    if fitting:
        return Placement(choose_node(cycle, fitting, rng).name)
    return _refuse(pod, view, rejections)


def _ask(cycle: Cycle, node: NodeInfo, nominations: Nominations) -> Rejection | None:
    ahead = nominations.before(cycle.pod, node.name)
    if ahead:
        crowded = node.copy()
        for other in ahead:
            crowded.add(other)
        rejection = run_filters(Cycle.of(cycle.pod, cycle.view.replace_node(crowded)), crowded)
        if rejection is not None:
            return rejection
    return run_filters(cycle, node)


def _refuse(pod: PodInfo, view: View, rejections: Mapping[str, Rejection]) -> Unschedulable:
    outcome = preempt(pod, view, rejections)
    return Unschedulable(
        fit_error(
            len(view.nodes),
            [r.reasons for r in rejections.values()],
            post_filter="" if outcome.node else post_filter_message(outcome.message),
        ),
        frozenset(r.plugin for r in rejections.values()),
        frozenset(r.plugin for r in rejections.values() if not r.unresolvable),
        outcome,
    )
