"""Which of several fitting nodes is best: the score plugins of the default profile with their weights.

Pure. Scores run from 0 to 100 per plugin. Left out: image locality and the default (Service-wide) spreading.
Source: pkg/scheduler/framework/plugins/{noderesources,nodeaffinity,tainttoleration,interpodaffinity,podtopologyspread}.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from podbay.embedded.scheduler.cache import AffinityTerm, NodeInfo
from podbay.embedded.scheduler.cycle import Cycle
from podbay.embedded.scheduler.node_affinity import preferred_score
from podbay.embedded.scheduler.spread import constraints_of, count_matching
from podbay.embedded.scheduler.taints import first_untolerated

__all__ = ["choose_node", "score_nodes"]

_MAX = 100
_TAINT_WEIGHT = 3
_AFFINITY_WEIGHT = 2
_SPREAD_WEIGHT = 2
_POD_AFFINITY_WEIGHT = 2


def choose_node(cycle: Cycle, fitting: Sequence[NodeInfo], rng: random.Random) -> NodeInfo:
    """The best node; among equals one at random, as kube-scheduler does."""
    if len(fitting) == 1:
        return fitting[0]
    scores = score_nodes(cycle, fitting)
    best = max(scores)
    return rng.choice([node for node, score in zip(fitting, scores, strict=True) if score == best])


def score_nodes(cycle: Cycle, nodes: Sequence[NodeInfo]) -> list[int]:
    """The weighted sum of all plugins for each node."""
    spec = cycle.pod.pod["spec"]
    totals = [least_allocated(cycle, node) + balanced_allocation(cycle, node) for node in nodes]
    if any(t.get("effect") == "PreferNoSchedule" for node in nodes for t in node.taints):
        taints = [_intolerable(cycle, node) for node in nodes]
        _add(totals, _normalize(taints, reverse=True), _TAINT_WEIGHT)
    if (spec.get("affinity") or {}).get("nodeAffinity"):
        preferred = [preferred_score(spec, node.labels, node.name) for node in nodes]
        _add(totals, _normalize(preferred), _AFFINITY_WEIGHT)
    if spec.get("topologySpreadConstraints"):
        _add(totals, _spread(cycle, nodes), _SPREAD_WEIGHT)
    if cycle.pod.preferred_affinity or cycle.pod.preferred_anti_affinity:
        _add(totals, _pod_affinity(cycle, nodes), _POD_AFFINITY_WEIGHT)
    return totals


def least_allocated(cycle: Cycle, node: NodeInfo) -> int:
    """The free share of cpu and memory after the pod, averaged."""
    shares = []
    for index, name in enumerate(("cpu", "memory")):
        capacity = node.allocatable.get(name, 0)
        if capacity:
            used = node.nonzero[index] + cycle.pod.nonzero[index]
            shares.append((capacity - used) * _MAX // capacity if used <= capacity else 0)
    return sum(shares) // len(shares) if shares else 0


def balanced_allocation(cycle: Cycle, node: NodeInfo) -> int:
    """High when cpu and memory would be used to the same degree."""
    fractions = []
    for name in ("cpu", "memory"):
        capacity = node.allocatable.get(name, 0)
        if capacity:
            used = node.requested.get(name, 0) + cycle.pod.requests.get(name, 0)
            fractions.append(min(1.0, used / capacity))
    deviation = abs(fractions[0] - fractions[1]) / 2 if len(fractions) == 2 else 0.0
    return int((1 - deviation) * _MAX)


def _intolerable(cycle: Cycle, node: NodeInfo) -> int:
    tolerations = cycle.pod.pod["spec"].get("tolerations") or ()
    considered = [t for t in tolerations if t.get("effect") in (None, "", "PreferNoSchedule")]
    return sum(1 for taint in node.taints if first_untolerated([taint], considered, ("PreferNoSchedule",)))


def _normalize(scores: Sequence[int], *, reverse: bool = False) -> list[int]:
    highest = max(scores)
    if highest == 0:
        return [_MAX if reverse else 0 for _ in scores]
    scaled = [score * _MAX // highest for score in scores]
    return [_MAX - score for score in scaled] if reverse else scaled


def _spread(cycle: Cycle, nodes: Sequence[NodeInfo]) -> list[int]:
    """Fewer matching pods in a node's domain is better; rarer domains weigh less (logarithmically)."""
    costs = [0.0] * len(nodes)
    ignored = [False] * len(nodes)
    for constraint in constraints_of(cycle.pod, "ScheduleAnyway"):
        domain: dict[str, int] = {}
        for node in cycle.view.nodes.values():
            value = node.labels.get(constraint.topology_key)
            if value is not None:
                domain[value] = domain.get(value, 0) + count_matching(constraint, cycle.pod, node)
        weight = math.log(len(domain) + 2)
        for i, node in enumerate(nodes):
            value = node.labels.get(constraint.topology_key)
            if value is None:
                ignored[i] = True
            else:
                costs[i] += domain[value] * weight + (constraint.max_skew - 1)
    known = [round(c) for c, skip in zip(costs, ignored, strict=True) if not skip]
    if not known:
        return [0] * len(nodes)
    low, high = min(known), max(known)
    return [
        0 if skip else _MAX if high == 0 else _MAX * (high + low - round(cost)) // high
        for cost, skip in zip(costs, ignored, strict=True)
    ]


def _pod_affinity(cycle: Cycle, nodes: Sequence[NodeInfo]) -> list[int]:
    pod, namespaces = cycle.pod, cycle.view.namespaces
    terms: list[tuple[AffinityTerm, int]] = [(t, t.weight) for t in pod.preferred_affinity]
    terms += [(t, -t.weight) for t in pod.preferred_anti_affinity]
    sums: dict[tuple[str, str], int] = {}
    for node in cycle.view.nodes.values():
        for other in node.pods.values():
            for term, weight in terms:
                value = node.labels.get(term.topology_key)
                if value is not None and term.matches(other, namespaces):
                    pair = (term.topology_key, value)
                    sums[pair] = sums.get(pair, 0) + weight
    keys = {term.topology_key for term, _ in terms}
    raw = [sum(sums.get((key, node.labels.get(key, "")), 0) for key in keys) for node in nodes]
    low, high = min(raw), max(raw)
    return [0 if high == low else (score - low) * _MAX // (high - low) for score in raw]


def _add(totals: list[int], scores: Sequence[int], weight: int) -> None:
    for i, score in enumerate(scores):
        totals[i] += score * weight
