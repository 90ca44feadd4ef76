"""What the scheduler knows of nodes and of the pods on them, kept as sums so that a decision costs little.

Pods that were just bound count at once ("assumed"), before the watch shows their binding. No I/O here.
Source: pkg/scheduler/framework/types.go (NodeInfo, PodInfo), pkg/scheduler/backend/cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from podbay.embedded.scheduler.requests import amounts, host_ports, nonzero_requests, pod_requests
from podbay.objects.meta import Object, labels_of
from podbay.objects.selectors import LabelSelector

__all__ = ["AffinityTerm", "Cache", "NodeInfo", "PodInfo"]


@dataclass(frozen=True, slots=True)
class AffinityTerm:
    """A pod (anti-)affinity term, ready to match; weight is 0 for required terms."""

    topology_key: str
    selector: LabelSelector
    namespaces: frozenset[str]
    namespace_selector: LabelSelector | None
    weight: int = 0

    def matches(self, pod: PodInfo, namespaces: Mapping[str, Mapping[str, str]]) -> bool:
        """Whether the term is about pod; namespaces maps each namespace to its labels."""
        if pod.namespace not in self.namespaces:
            chosen = self.namespace_selector
            if chosen is None or not chosen.matches(namespaces.get(pod.namespace, {})):
                return False
        return self.selector.matches(pod.labels)


def _term(raw: Mapping[str, Any], pod: Object, weight: int = 0) -> AffinityTerm:
    named = frozenset(raw.get("namespaces") or ())
    selector = raw.get("namespaceSelector")
    if not named and selector is None:
        named = frozenset([pod["metadata"].get("namespace") or ""])
    labels = labels_of(pod)
    chosen = LabelSelector.from_object(raw.get("labelSelector"))
    # matchLabelKeys: terms are about pods that share (or do not share) this pod's value of the label.
    extra = [
        {"key": key, "operator": operator, "values": [labels[key]]}
        for keys, operator in ((raw.get("matchLabelKeys"), "In"), (raw.get("mismatchLabelKeys"), "NotIn"))
        for key in keys or ()
        if key in labels
    ]
    if extra and not chosen.nothing:
        more = LabelSelector.from_object({"matchExpressions": extra})
        chosen = LabelSelector(chosen.requirements + more.requirements)
    return AffinityTerm(
        raw.get("topologyKey") or "",
        chosen,
        named,
        None if selector is None else LabelSelector.from_object(selector),
        weight,
    )


def _terms(pod: Object, kind: str, *, required: bool) -> tuple[AffinityTerm, ...]:
    affinity = (pod["spec"].get("affinity") or {}).get(kind) or {}
    if required:
        return tuple(
            _term(t, pod) for t in affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        )
    return tuple(
        _term(t["podAffinityTerm"], pod, int(t["weight"]))
        for t in affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    )


@dataclass(slots=True, eq=False)
class PodInfo:
    """A pod with everything the filters ask of it, computed once."""

    pod: Object
    uid: str
    namespace: str
    name: str
    labels: Mapping[str, str]
    priority: int
    requests: dict[str, int]
    nonzero: tuple[int, int]
    ports: frozenset[tuple[str, str, int]]
    affinity: tuple[AffinityTerm, ...]
    anti_affinity: tuple[AffinityTerm, ...]
    preferred_affinity: tuple[AffinityTerm, ...]
    preferred_anti_affinity: tuple[AffinityTerm, ...]

    @classmethod
    def of(cls, pod: Object) -> PodInfo:
        """Read a pod object; it is kept and must not change."""
        metadata, spec = pod["metadata"], pod["spec"]
        has_affinity = bool(spec.get("affinity"))
        return cls(
            pod=pod,
            uid=metadata.get("uid") or f"{metadata.get('namespace')}/{metadata['name']}",
            namespace=metadata.get("namespace") or "",
            name=metadata["name"],
            labels=labels_of(pod),
            priority=int(spec.get("priority") or 0),
            requests=pod_requests(pod),
            nonzero=nonzero_requests(pod),
            ports=host_ports(pod),
            affinity=_terms(pod, "podAffinity", required=True) if has_affinity else (),
            anti_affinity=_terms(pod, "podAntiAffinity", required=True) if has_affinity else (),
            preferred_affinity=_terms(pod, "podAffinity", required=False) if has_affinity else (),
            preferred_anti_affinity=_terms(pod, "podAntiAffinity", required=False) if has_affinity else (),
        )

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def terminating(self) -> bool:
        return bool(self.pod["metadata"].get("deletionTimestamp"))

    @property
    def started_at(self) -> str:
        """RFC 3339 time of start, empty before it; orders pods of one priority."""
        return str((self.pod.get("status") or {}).get("startTime") or "")


@dataclass(slots=True, eq=False)
class NodeInfo:
    """A node with the sums over its pods."""

    node: Object
    name: str
    labels: Mapping[str, str]
    taints: list[dict[str, Any]]
    unschedulable: bool
    allocatable: dict[str, int]
    pods: dict[str, PodInfo] = field(default_factory=dict)
    requested: dict[str, int] = field(default_factory=dict)
    nonzero: tuple[int, int] = (0, 0)
    ports: dict[tuple[str, str, int], int] = field(default_factory=dict)

    @classmethod
    def of(cls, node: Object) -> NodeInfo:
        """A node without pods."""
        spec, status = node.get("spec") or {}, node.get("status") or {}
        return cls(
            node=node,
            name=node["metadata"]["name"],
            labels=labels_of(node),
            taints=spec.get("taints") or [],
            unschedulable=bool(spec.get("unschedulable")),
            allocatable=amounts(status.get("allocatable") or status.get("capacity")),
        )

    def updated(self, node: Object) -> NodeInfo:
        """The same pods on the changed node object."""
        fresh = NodeInfo.of(node)
        fresh.pods, fresh.requested = self.pods, self.requested
        fresh.nonzero, fresh.ports = self.nonzero, self.ports
        return fresh

    def copy(self) -> NodeInfo:
        """A copy to play through changes on."""
        return NodeInfo(
            self.node,
            self.name,
            self.labels,
            self.taints,
            self.unschedulable,
            self.allocatable,
            dict(self.pods),
            dict(self.requested),
            self.nonzero,
            dict(self.ports),
        )

    def add(self, pod: PodInfo) -> None:
        self.pods[pod.uid] = pod
        self._count(pod, 1)

    def remove(self, pod: PodInfo) -> None:
        if self.pods.pop(pod.uid, None) is not None:
            self._count(pod, -1)

    def _count(self, pod: PodInfo, sign: int) -> None:
        for name, amount in pod.requests.items():
            self.requested[name] = self.requested.get(name, 0) + sign * amount
        self.nonzero = (self.nonzero[0] + sign * pod.nonzero[0], self.nonzero[1] + sign * pod.nonzero[1])
        for port in pod.ports:
            left = self.ports.get(port, 0) + sign
            if left > 0:
                self.ports[port] = left
            else:
                self.ports.pop(port, None)


class Cache:
    """Nodes by name, assigned pods by uid, pods nominated to a node by preemption."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeInfo] = {}
        self.with_anti_affinity: dict[str, tuple[PodInfo, str]] = {}
        """uid -> (pod with required anti-affinity, its node's name): consulted for every pod, so kept apart."""
        self.nominated: dict[str, tuple[PodInfo, str]] = {}
        """uid -> (waiting pod, the node it preempted others on)."""
        self._assigned: dict[str, tuple[PodInfo, str]] = {}
        self._unknown_node: dict[str, dict[str, PodInfo]] = {}

    def assigned_to(self, uid: str) -> str | None:
        """The node a pod counts on, or None."""
        entry = self._assigned.get(uid)
        return entry[1] if entry else None

    def assigned(self) -> Iterable[tuple[PodInfo, str]]:
        """Every pod that counts, with its node's name."""
        return self._assigned.values()

    def set_node(self, node: Object) -> None:
        """Add or change a node; pods bound to it before it was known count from now on."""
        name = node["metadata"]["name"]
        old = self.nodes.get(name)
        self.nodes[name] = old.updated(node) if old else NodeInfo.of(node)
        for pod in self._unknown_node.pop(name, {}).values():
            self.nodes[name].add(pod)

    def remove_node(self, name: str) -> None:
        """Forget a node; its pods count again if it comes back."""
        info = self.nodes.pop(name, None)
        if info and info.pods:
            self._unknown_node[name] = dict(info.pods)

    def add_pod(self, pod: PodInfo, node_name: str) -> None:
        """Count pod on a node, replacing what was known of it (also an assumption)."""
        self.remove_pod(pod.uid)
        self._assigned[pod.uid] = (pod, node_name)
        self.nominated.pop(pod.uid, None)
        if pod.anti_affinity:
            self.with_anti_affinity[pod.uid] = (pod, node_name)
        node = self.nodes.get(node_name)
        if node is None:
            self._unknown_node.setdefault(node_name, {})[pod.uid] = pod
        else:
            node.add(pod)

    def refresh(self, uid: str, pod: Object) -> None:
        """A newer version of a pod that counts: its sums stay unless its spec or labels changed."""
        info, node_name = self._assigned[uid]
        if pod["spec"] == info.pod["spec"] and labels_of(pod) == info.labels:
            info.pod = pod
        else:
            self.add_pod(PodInfo.of(pod), node_name)

    def remove_pod(self, uid: str) -> bool:
        """Stop counting a pod (deleted, finished, or its binding failed); False when it did not count."""
        entry = self._assigned.pop(uid, None)
        if entry is None:
            return False
        pod, node_name = entry
        self.with_anti_affinity.pop(uid, None)
        node = self.nodes.get(node_name)
        if node is not None:
            node.remove(pod)
        else:
            self._unknown_node.get(node_name, {}).pop(uid, None)
        return True
