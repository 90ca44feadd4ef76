"""One function per filter plugin: does this node take this pod, and if not, why, in kube-scheduler's words.

Pure. A node is asked in the order of the default profile and answers with its first rejection, as the real
framework does. Source: pkg/scheduler/framework/plugins/<name>.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from podbay.embedded.scheduler.cache import NodeInfo
from podbay.embedded.scheduler.cycle import Cycle, Rejection
from podbay.embedded.scheduler.node_affinity import matches_required, matches_term
from podbay.embedded.scheduler.taints import first_untolerated, tolerates

__all__ = ["FILTERS", "pre_filter", "run_filters"]

_UNSCHEDULABLE_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
_NATIVE = ("cpu", "memory", "ephemeral-storage")


def node_unschedulable(cycle: Cycle, node: NodeInfo) -> Rejection | None:
    """Cordoned nodes take only pods that tolerate it."""
    if not node.unschedulable:
        return None
    tolerations = cycle.pod.pod["spec"].get("tolerations") or ()
    if any(tolerates(t, _UNSCHEDULABLE_TAINT) for t in tolerations):
        return None
    return Rejection("NodeUnschedulable", ("node(s) were unschedulable",), True)


def node_name(cycle: Cycle, node: NodeInfo) -> Rejection | None:
    """spec.nodeName, set on a pod that is nevertheless given to the scheduler."""
    wanted = cycle.pod.pod["spec"].get("nodeName")
    if not wanted or wanted == node.name:
        return None
    return Rejection("NodeName", ("node(s) didn't match the requested node name",), True)


def taint_toleration(cycle: Cycle, node: NodeInfo) -> Rejection | None:
    """NoSchedule and NoExecute taints."""
    if not node.taints:
        return None
    tolerations = cycle.pod.pod["spec"].get("tolerations") or ()
    if first_untolerated(node.taints, tolerations, ("NoSchedule", "NoExecute")) is None:
        return None
    return Rejection("TaintToleration", ("node(s) had untolerated taint(s)",), True)


def node_affinity(cycle: Cycle, node: NodeInfo) -> Rejection | None:
    """nodeSelector and required node affinity."""
    if matches_required(cycle.pod.pod["spec"], node.labels, node.name):
        return None
    return Rejection("NodeAffinity", ("node(s) didn't match Pod's node affinity/selector",), True)


def node_ports(cycle: Cycle, node: NodeInfo) -> Rejection | None:
    """Host ports: the same port and protocol conflict on one address, and on all of them."""
    for address, protocol, port in cycle.pod.ports:
        for used_address, used_protocol, used_port in node.ports:
            if (protocol, port) == (used_protocol, used_port) and (
                address == used_address or "0.0.0.0" in (address, used_address)
            ):
                return Rejection("NodePorts", ("node(s) didn't have free ports for the requested pod ports",))
    return None


def node_resources_fit(cycle: Cycle, node: NodeInfo) -> Rejection | None:
    """Number of pods, cpu, memory, ephemeral storage and extended resources."""
    reasons: list[str] = []
    unresolvable = False
    if len(node.pods) + 1 > node.allocatable.get("pods", 0):
        reasons.append("Too many pods")
    requests = cycle.pod.requests
    ordered = [n for n in _NATIVE if n in requests] + sorted(n for n in requests if n not in _NATIVE)
    for name in ordered:
        amount = requests[name]
        if amount <= 0 or name == "pods":
            continue
        capacity = node.allocatable.get(name, 0)
        if amount > capacity - node.requested.get(name, 0):
            reasons.append(f"Insufficient {name}")
            unresolvable = unresolvable or amount > capacity
    return Rejection("NodeResourcesFit", tuple(reasons), unresolvable) if reasons else None


def volume_binding(cycle: Cycle, node: NodeInfo) -> Rejection | None:
    """The volumes of bound claims must be usable on the node."""
    for claim in _claims(cycle):
        volume = cycle.view.volumes.get(_volume_name(claim))
        if volume is None:
            continue
        affinity = ((volume.get("spec") or {}).get("nodeAffinity") or {}).get("required") or {}
        terms = affinity.get("nodeSelectorTerms") or ()
        if affinity and not any(matches_term(t, node.labels, node.name) for t in terms):
            reason = "node(s) didn't match PersistentVolume's node affinity"
            return Rejection("VolumeBinding", (reason,), True)
    return None


def pod_topology_spread(cycle: Cycle, node: NodeInfo) -> Rejection | None:
    """Hard topology spread constraints."""
    found = cycle.spread.reject(node) if cycle.spread else None
    return Rejection("PodTopologySpread", (found[0],), found[1]) if found else None


def inter_pod_affinity(cycle: Cycle, node: NodeInfo) -> Rejection | None:
    """Required pod affinity and anti-affinity, the running pods' anti-affinity included."""
    found = cycle.affinity.reject(node) if cycle.affinity else None
    return Rejection("InterPodAffinity", (found[0],), found[1]) if found else None


FILTERS: tuple[Callable[[Cycle, NodeInfo], Rejection | None], ...] = (
    node_unschedulable,
    node_name,
    taint_toleration,
    node_affinity,
    node_ports,
    node_resources_fit,
    volume_binding,
    pod_topology_spread,
    inter_pod_affinity,
)


def run_filters(cycle: Cycle, node: NodeInfo) -> Rejection | None:
    """The first rejection, or None when the node takes the pod."""
    for filter_plugin in FILTERS:
        rejection = filter_plugin(cycle, node)
        if rejection is not None:
            return rejection
    return None


def pre_filter(cycle: Cycle) -> Rejection | None:
    """What is wrong with the pod whichever node: claims that are missing, lost, ending or unbound."""
    pod = cycle.pod
    for volume in pod.pod["spec"].get("volumes") or ():
        name = _claim_name(pod.pod, volume)
        if name is None:
            continue
        claim = cycle.view.claims.get(f"{pod.namespace}/{name}")
        problem = _claim_problem(name, claim, ephemeral=bool(volume.get("ephemeral")))
        if problem:
            return Rejection("VolumeBinding", (problem,), True)
    for found in _claims(cycle):
        if not _is_bound(found) and _storage_class(found) not in cycle.view.delayed_classes:
            reason = "pod has unbound immediate PersistentVolumeClaims"
            return Rejection("VolumeBinding", (reason,), True)
    return None


def _claim_name(pod: Mapping[str, Any], volume: Mapping[str, Any]) -> str | None:
    if volume.get("persistentVolumeClaim"):
        return str(volume["persistentVolumeClaim"]["claimName"])
    if volume.get("ephemeral"):
        return f"{pod['metadata']['name']}-{volume['name']}"
    return None


def _claim_problem(name: str, claim: Mapping[str, Any] | None, *, ephemeral: bool) -> str | None:
    if claim is None:
        if ephemeral:
            return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
        return f'persistentvolumeclaim "{name}" not found'
    if (claim.get("status") or {}).get("phase") == "Lost":
        volume = (claim.get("spec") or {}).get("volumeName") or ""
        return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{volume}"'
    if claim["metadata"].get("deletionTimestamp"):
        return f'persistentvolumeclaim "{name}" is being deleted'
    return None


def _claims(cycle: Cycle) -> list[Mapping[str, Any]]:
    pod = cycle.pod
    names = [_claim_name(pod.pod, v) for v in pod.pod["spec"].get("volumes") or ()]
    found = [cycle.view.claims.get(f"{pod.namespace}/{name}") for name in names if name]
    return [claim for claim in found if claim is not None]


def _is_bound(claim: Mapping[str, Any]) -> bool:
    # The phase follows the binding; a real scheduler goes by the volume name and the bind annotation.
    return bool(_volume_name(claim)) and (claim.get("status") or {}).get("phase") == "Bound"


def _volume_name(claim: Mapping[str, Any]) -> str:
    return str((claim.get("spec") or {}).get("volumeName") or "")


def _storage_class(claim: Mapping[str, Any]) -> str:
    return str((claim.get("spec") or {}).get("storageClassName") or "")
