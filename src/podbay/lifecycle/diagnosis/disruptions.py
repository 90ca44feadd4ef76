"""Pods that were ended from outside: by the kubelet, the scheduler, the eviction API, a lost node, or a person.

Sources: pkg/kubelet/eviction/helpers.go, pkg/kubelet/lifecycle/predicate.go, pkg/kubelet/nodeshutdown,
pkg/kubelet/preemption, pkg/controller/{podgc,tainteviction}; the condition DisruptionTarget (core/v1).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from podbay.lifecycle.diagnosis.category import Category, Rule, first_rule, rule
from podbay.lifecycle.diagnosis.exits import how_stopped
from podbay.lifecycle.diagnosis.model import Diagnosis
from podbay.lifecycle.diagnosis.node_state import is_reclaimed, is_spot, is_unreachable
from podbay.lifecycle.diagnosis.sight import Condition, Sight

__all__ = ["CATEGORIES", "find_disruptions", "find_node_trouble"]

EVICTED_MEMORY: Final = Category(
    word="EvictedMemory",
    meaning="The node ran short of memory, and the kubelet ended the pod.",
    fix="Raise `resources.requests.memory` to what the task really uses: pods above their request are ended first.",
    blame="infrastructure",
    heals="never",
)
EVICTED_DISK: Final = Category(
    word="EvictedDisk",
    meaning="The node ran short of disk space or inodes, and the kubelet ended the pod.",
    fix="Set `resources.requests.ephemeral-storage` to what the task really writes, or give the nodes larger disks.",
    blame="infrastructure",
    heals="never",
)
EVICTED_PIDS: Final = Category(
    word="EvictedPids",
    meaning="The node ran short of process ids, and the kubelet ended the pod.",
    fix="Start fewer processes or threads in one pod.",
    blame="infrastructure",
    heals="never",
)
EMPTY_DIR: Final = Category(
    word="EmptyDirLimit",
    meaning="The pod wrote more into an emptyDir volume than the volume's sizeLimit.",
    fix="Raise `emptyDir.sizeLimit` of that volume, or write less.",
    blame="user",
    heals="never",
)
STORAGE: Final = Category(
    word="EphemeralStorageLimit",
    meaning="The pod wrote more to the node's disk than its own ephemeral-storage limit.",
    fix="Raise `resources.limits.ephemeral-storage`, or write to a volume.",
    blame="user",
    heals="never",
)
EVICTED: Final = Category(
    word="Evicted",
    meaning="The kubelet ended the pod to save its node.",
    fix="Try again; read the evidence for what the node ran short of.",
    blame="infrastructure",
    heals="never",
)
DEADLINE: Final = Category(
    word="DeadlineExceeded",
    meaning="The pod ran longer than its activeDeadlineSeconds, and the kubelet ended it.",
    fix="Raise `activeDeadlineSeconds`, or make the task faster.",
    blame="user",
    heals="never",
)
PREEMPTED: Final = Category(
    word="Preempted",
    meaning="A pod of higher priority took the place of this one.",
    fix="Try again, or give the task a higher `priorityClassName`.",
    blame="infrastructure",
    heals="never",
)
API: Final = Category(
    word="EvictedByApi",
    meaning="Somebody asked the API to evict the pod: a drain, a node upgrade, an autoscaler that removes the node.",
    fix="Try again; a PodDisruptionBudget, or the autoscaler's annotation against eviction, keeps a long task in its place.",
    blame="infrastructure",
    heals="never",
)
TAINTED: Final = Category(
    word="TaintEviction",
    meaning="The pod's node got a NoExecute taint that the pod does not tolerate (any longer).",
    fix="Try again; a toleration with `tolerationSeconds` rides out short troubles of a node.",
    blame="infrastructure",
    heals="never",
)
LOST: Final = Category(
    word="NodeLost",
    meaning="The pod's node went away or stopped answering.",
    fix="Try again on another node.",
    blame="infrastructure",
    heals="never",
)
SHUTDOWN: Final = Category(
    word="NodeShutdown",
    meaning="The pod's node was shut down, and the kubelet ended the pod before.",
    fix="Try again on another node.",
    blame="infrastructure",
    heals="never",
)
SPOT: Final = Category(
    word="SpotReclaimed",
    meaning="The pod's node was spot or preemptible capacity, and the provider took it back.",
    fix="Try again; run tasks that must not be interrupted on on-demand nodes.",
    blame="infrastructure",
    heals="never",
)
REJECTED: Final = Category(
    word="KubeletRejected",
    meaning="The node turned the pod away after the scheduler had chosen it; no container ever ran.",
    fix="Try again; scheduler and node did not agree on what is free.",
    blame="infrastructure",
    heals="never",
)
FORBIDDEN: Final = Category(
    word="KubeletForbids",
    meaning="The node does not allow something the pod asks for (sysctl, AppArmor, operating system).",
    fix="Remove the setting that the evidence names, or have it allowed on the nodes.",
    blame="user",
    heals="never",
)
UNREACHABLE: Final = Category(
    word="NodeNotAnswering",
    meaning="The pod's node does not report to the cluster; what runs there may still run.",
    fix="Wait for the node to come back; after five minutes the cluster ends its pods.",
    blame="infrastructure",
    heals="maybe",
)

CATEGORIES: Final = (
    EVICTED_MEMORY, EVICTED_DISK, EVICTED_PIDS, EMPTY_DIR, STORAGE, EVICTED, DEADLINE, PREEMPTED, API, TAINTED, LOST,
    SHUTDOWN, SPOT, REJECTED, FORBIDDEN, UNREACHABLE,
)  # fmt: skip

_EVICTIONS: Final[tuple[Rule, ...]] = (
    rule(
        EMPTY_DIR,
        r"Usage of EmptyDir volume \"(?P<volume>[^\"]+)\" exceeds the limit \"(?P<limit>[^\"]+)\"",
        '{pod} was ended because it wrote more than {limit} into its volume "{volume}"',
        'Raise `emptyDir.sizeLimit` of volume "{volume}" above {limit}, or write less.',
    ),
    rule(
        STORAGE,
        r"Container (?P<container>\S+) exceeded its local ephemeral storage limit \"(?P<limit>[^\"]+)\"",
        "{pod} was ended because container {container} wrote more than its limit of {limit} to the node's disk",
    ),
    rule(
        STORAGE,
        r"ephemeral local storage usage exceeds the total limit of containers (?P<limit>[\w.]*\w)",
        "{pod} was ended because its containers wrote more than {limit} to the node's disk",
    ),
    rule(
        EVICTED_MEMORY,
        r"low on resource: memory|MemoryPressure",
        "{pod} was ended because node {node} ran short of memory",
    ),
    rule(
        EVICTED_DISK,
        r"low on resource: (?:ephemeral-storage|inodes)|DiskPressure|low on resource: \[(?:Disk|Inodes)",
        "{pod} was ended because node {node} ran short of disk",
    ),
    rule(
        EVICTED_PIDS,
        r"low on resource: pids|PIDPressure",
        "{pod} was ended because node {node} ran short of processes",
    ),
    rule(EVICTED, r"", "{pod} was evicted from node {node}"),
)

_SHUTDOWN: Final = frozenset({"Terminated", "NodeShutdown", "Shutdown"})
_FORBIDS: Final = frozenset({
    "SysctlForbidden", "AppArmor", "PodOSNotSupported", "PodOSSelectorNodeLabelDoesNotMatch",
    "SupplementalGroupsPolicyNotSupported", "InitContainerRestartPolicyForbidden", "UserNamespacesNotSupported",
})  # fmt: skip
_REJECTS: Final = frozenset({
    "NodeAffinity", "NodeName", "NodePorts", "TaintToleration", "UnexpectedAdmissionError", "TopologyAffinityError",
    "InvalidNodeInfo", "UnknownReason", "UnexpectedPredicateFailureType", "AdmissionFailed", "NodeUnschedulable",
})  # fmt: skip
_ENDED_BY: Final[dict[str, tuple[Category, str]]] = {
    "PreemptionByScheduler": (
        PREEMPTED,
        "{pod} had to make room on node {node} for a pod of higher priority",
    ),
    "EvictionByEvictionAPI": (API, "{pod} was evicted from node {node} through the API, as a drain does"),
    "DeletionByTaintManager": (
        TAINTED,
        "{pod} was ended because node {node} got a taint it does not tolerate",
    ),
    "DeletionByDeviceTaintManager": (TAINTED, "{pod} was ended because a device it uses got a taint"),
    "DeletionByPodGC": (LOST, "Node {node} of {pod} does not exist any more"),
}


def find_disruptions(sight: Sight) -> Iterator[Diagnosis]:
    """What ended the pod from outside; nothing when its task had ended before."""
    condition = sight.conditions.get("DisruptionTarget")
    target = condition if condition is not None and condition.status == "True" else None
    if sight.ended_before(target.since if target is not None else None):
        return
    found = _by_status(sight) or (_by_condition(sight, target) if target is not None else None)
    if found is None:
        return
    category, cause, fix = found
    names = {"pod": sight.name, "node": sight.node_name or "of no name"}
    if category in (LOST, SHUTDOWN, TAINTED, API) and is_reclaimed(sight):
        category, cause, fix = (
            SPOT,
            "Node {node} of {pod} was spot capacity, and the provider took it back",
            "",
        )
    # Not str.format: the status' own words are part of the text by now.
    for key, value in names.items():
        cause = cause.replace(f"{{{key}}}", value)
    yield category.found(cause[:1].upper() + cause[1:], fix=fix, evidence=_evidence(sight, target))


def _by_status(sight: Sight) -> tuple[Category, str, str] | None:
    """The kubelet's verdict in status.reason."""
    reason = sight.reason
    if reason == "Evicted":
        found = first_rule(_EVICTIONS, [sight.message])
        if found is not None:
            which, match = found
            cause, fix = which.told(match, {"pod": sight.name, "node": sight.node_name or "of no name"})
            return which.category, cause, fix
    if reason == "DeadlineExceeded":
        seconds = sight.spec.get("activeDeadlineSeconds")
        limit = f" of {seconds} s" if isinstance(seconds, int) else ""
        return DEADLINE, f"{{pod}} ran longer than its activeDeadlineSeconds{limit}", ""
    if reason in ("Preempting", "Preempted"):
        return PREEMPTED, "{pod} had to make room on node {node} for a critical pod", ""
    if reason in _SHUTDOWN:
        return SHUTDOWN, "Node {node} of {pod} was shut down", ""
    if reason == "NodeLost":
        return LOST, "Node {node} of {pod} stopped answering", ""
    if reason in _FORBIDS:
        return FORBIDDEN, f"Node {{node}} does not allow what {{pod}} asks for ({reason})", ""
    if reason in _REJECTS or reason.startswith("OutOf"):
        return REJECTED, f"Node {{node}} turned {{pod}} away ({reason}); no container of it ran", ""
    return None


def _by_condition(sight: Sight, target: Condition) -> tuple[Category, str, str] | None:
    """Who marked the pod for its end."""
    found = _ENDED_BY.get(target.reason)
    if found is None:
        return (
            (SHUTDOWN, "The kubelet of node {node} ended {pod}", "")
            if target.reason == "TerminationByKubelet"
            else None
        )
    category, cause = found
    if category is TAINTED and is_unreachable(sight):
        return LOST, "Node {node} of {pod} stopped answering, and the cluster ended the pod", ""
    return category, cause, ""


def _evidence(sight: Sight, target: Condition | None) -> list[str]:
    lines = []
    if sight.reason:
        lines.append(
            f"status.reason {sight.reason}: {sight.message}"
            if sight.message
            else f"status.reason {sight.reason}"
        )
    if target is not None:
        lines.append(f"condition DisruptionTarget, {target.reason}: {target.message}")
    reasons = ("Evicted", "Preempted", "Preempting", "TaintManagerEviction", "NodeNotReady", "Disrupted")
    lines += [told.line() for told in sight.told(*reasons)[:2]]
    lines.append(how_stopped(sight))
    spot = is_spot(sight)
    return [*lines, f"node {sight.node_name}: label {spot} says it is spot capacity"] if spot else lines


def find_node_trouble(sight: Sight) -> Iterator[Diagnosis]:
    """A node that does not answer while the pod has not ended."""
    if sight.over or not sight.node_name or not is_unreachable(sight):
        return
    told = sight.told("NodeNotReady", "NodeNotSchedulable")
    cause = f"Node {sight.node_name} of {sight.name} does not report to the cluster"
    evidence = [f"node {sight.node_name}: condition Ready is not True", *(each.line() for each in told[:1])]
    yield UNREACHABLE.found(cause, evidence=evidence)
