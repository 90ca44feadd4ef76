"""Pods that have no node yet: gates, queues, full clusters, and requirements that no node meets.

The scheduler counts for each node the first thing that rules it out, in the order of its filters: cordon, name, taints,
selector, ports, room. A node that lacks room has therefore met everything before it, and the message tells what is missing.
Sources: pkg/scheduler/framework/types.go (FitError) and plugins/*; cluster-autoscaler and Karpenter events; Kueue's gate.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from podbay.lifecycle.diagnosis.category import Category
from podbay.lifecycle.diagnosis.model import Diagnosis
from podbay.lifecycle.diagnosis.reading import as_list, as_map, as_text
from podbay.lifecycle.diagnosis.room import largest, readable, requested
from podbay.lifecycle.diagnosis.sight import Sight, Told
from podbay.lifecycle.diagnosis.volumes import CLAIM_MISSING

__all__ = ["CATEGORIES", "find_scheduling"]

KUEUE: Final = Category(
    word="QueuedByKueue",
    meaning="Kueue holds the pod back until its queue has quota for it.",
    fix="Wait for the queue; `kubectl get workloads -n NAMESPACE` shows the place in it.",
    blame="platform",
    heals="itself",
)
GATED: Final = Category(
    word="SchedulingGated",
    meaning="A scheduling gate holds the pod back; whoever set it must remove it.",
    fix="Wait for the controller that owns the gate, or remove the gate from `schedulingGates`.",
    blame="platform",
    heals="itself",
)
SCALING: Final = Category(
    word="WaitingForNodes",
    meaning="New nodes were ordered for the pod (cluster autoscaler, Karpenter).",
    fix="Wait; nodes take some minutes to come.",
    blame="platform",
    heals="itself",
)
CPU: Final = Category(
    word="InsufficientCpu",
    meaning="Nodes that would suit the pod have not enough CPU free now.",
    fix="Wait for other pods to end, add nodes, or lower `resources.requests.cpu`.",
    blame="platform",
    heals="itself",
)
MEMORY: Final = Category(
    word="InsufficientMemory",
    meaning="Nodes that would suit the pod have not enough memory free now.",
    fix="Wait for other pods to end, add nodes, or lower `resources.requests.memory`.",
    blame="platform",
    heals="itself",
)
RESOURCE: Final = Category(
    word="InsufficientResource",
    meaning="Nodes that would suit the pod have not enough of another resource free (GPU, ephemeral storage).",
    fix="Wait for other pods to end, add nodes that have it, or ask for less of it.",
    blame="platform",
    heals="itself",
)
TOO_BIG: Final = Category(
    word="TooBigForAnyNode",
    meaning="The pod asks for more than any node has, even an empty one.",
    fix="Lower the pod's `resources.requests`, or add larger nodes.",
    blame="user",
    heals="maybe",
)
TOO_MANY: Final = Category(
    word="TooManyPods",
    meaning="Nodes that would suit the pod hold as many pods as they may.",
    fix="Wait for other pods to end, or add nodes.",
    blame="platform",
    heals="itself",
)
PORTS: Final = Category(
    word="HostPortTaken",
    meaning="The host port the pod asks for is taken on every node that would suit it.",
    fix="Leave `hostPort` out, or wait for the pod that has it.",
    blame="user",
    heals="itself",
)
TAINT: Final = Category(
    word="TaintNotTolerated",
    meaning="Nodes have taints that the pod does not tolerate.",
    fix="Add the toleration to `tolerations` if the pod is meant for these nodes; else add nodes without the taint.",
    blame="user",
    heals="maybe",
)
SELECTOR: Final = Category(
    word="NodeSelectorMismatch",
    meaning="No node has the labels that the pod's nodeSelector or node affinity asks for.",
    fix="Correct `nodeSelector` or `affinity.nodeAffinity`, or label a node; `kubectl get nodes --show-labels` shows what there is.",
    blame="user",
    heals="maybe",
)
CORDONED: Final = Category(
    word="NodesCordoned",
    meaning="The nodes that are left take no new pods (cordoned, being drained or not ready).",
    fix="Wait for the maintenance to end, or uncordon a node.",
    blame="platform",
    heals="itself",
)
SPREAD: Final = Category(
    word="PodAffinityMismatch",
    meaning="Affinity to other pods, or a spread over zones, rules out every node.",
    fix="Correct `podAffinity`, `podAntiAffinity` or `topologySpreadConstraints`, or make them preferred instead of required.",
    blame="user",
    heals="maybe",
)
ZONE: Final = Category(
    word="PvcZone",
    meaning="The volume lies in a zone or on a node that the pod cannot use.",
    fix="Let the pod run in the volume's zone (its PersistentVolume names it), or use a volume without a zone.",
    blame="user",
    heals="maybe",
)
UNBOUND: Final = Category(
    word="PvcUnbound",
    meaning="A PersistentVolumeClaim of the pod has no volume.",
    fix="Look at `kubectl describe pvc`: the storage class must exist and be able to make the volume.",
    blame="platform",
    heals="maybe",
)
ATTACHABLE: Final = Category(
    word="TooManyVolumes",
    meaning="Nodes that would suit the pod have as many volumes attached as they may.",
    fix="Wait for other pods with volumes to end, or add nodes.",
    blame="platform",
    heals="itself",
)
NO_NODES: Final = Category(
    word="NoNodes",
    meaning="The cluster has no node that could take a pod.",
    fix="Start or add nodes.",
    blame="platform",
    heals="itself",
)
UNSCHEDULABLE: Final = Category(
    word="Unschedulable",
    meaning="The scheduler finds no node, in words that are not known here.",
    fix="Read the evidence; it is the scheduler's own message.",
    blame="platform",
    heals="maybe",
)

CATEGORIES: Final = (
    KUEUE, GATED, SCALING, CPU, MEMORY, RESOURCE, TOO_BIG, TOO_MANY, PORTS, TAINT, SELECTOR, CORDONED, SPREAD, ZONE,
    UNBOUND, ATTACHABLE, NO_NODES, UNSCHEDULABLE,
)  # fmt: skip

_KUEUE_GATES: Final = "kueue.x-k8s.io/"
_INSUFFICIENT: Final = re.compile(r"(\d+) Insufficient ([\w./-]+?)(?=[,.]? |[,.]?$)")
_TAINTED: Final = re.compile(r"(\d+) node\(s\) had untolerated taint(?:\(s\)|\s*\{([^}]*)\})")
_CLAIM: Final = re.compile(r'persistentvolumeclaim "([^"]+)" not found')
_COUNTED: Final[tuple[tuple[Category, re.Pattern[str], str], ...]] = (
    (TOO_MANY, re.compile(r"(\d+) Too many pods"), "as many pods as allowed are already on {count}"),
    (PORTS, re.compile(r"(\d+) node\(s\) didn't have free ports"), "the host port it asks for is taken on {count}"),
    (ATTACHABLE, re.compile(r"(\d+) node\(s\) exceed max volume count"), "no further volume can be attached to {count}"),
    (
        ZONE,
        re.compile(r"(\d+) node\(s\) (?:had volume node affinity conflict|didn't match PersistentVolume's node affinity)"),
        "its volume belongs to another zone or node and cannot be reached from {count}",
    ),
    (
        UNBOUND,
        re.compile(r"(\d*) ?(?:pod has unbound immediate PersistentVolumeClaims|node\(s\) didn't find available persistent volumes)"),
        "a PersistentVolumeClaim of it has no volume yet",
    ),
    (
        SPREAD,
        re.compile(r"(\d+) node\(s\) didn't (?:match pod (?:anti-)?affinity|satisfy existing pods|match pod topology spread)"),
        "affinity to other pods or spreading rules out {count}",
    ),
    (SELECTOR, re.compile(r"(\d+) node\(s\) didn't match Pod's node affinity"), "the labels it asks for are missing on {count}"),
    (CORDONED, re.compile(r"(\d+) node\(s\) were unschedulable"), "no new pods are taken by {count} (cordoned)"),
)  # fmt: skip


def find_scheduling(sight: Sight) -> Iterator[Diagnosis]:
    """What keeps a pod from getting a node, what is nearest to its cure first."""
    # A manifest that was never stored has no status and waits for nothing.
    if not sight.status or sight.over or sight.node_name or sight.begun:
        return
    gates = [as_text(as_map(gate).get("name")) for gate in as_list(sight.spec.get("schedulingGates"))]
    condition = sight.conditions.get("PodScheduled")
    if gates or (condition is not None and condition.reason == "SchedulingGated"):
        yield _gated(sight, [gate for gate in gates if gate])
        return
    told = sight.told("FailedScheduling")
    said = condition.message if condition is not None and condition.reason == "Unschedulable" else ""
    text = said or (told[0].message if told else "")
    scaling = _scaling(sight)
    if scaling is not None:
        yield scaling
    if text:
        yield from _unschedulable(sight, text)


def _gated(sight: Sight, gates: list[str]) -> Diagnosis:
    line = f"spec.schedulingGates: {', '.join(gates) or 'not told'}"
    if any(gate.startswith(_KUEUE_GATES) for gate in gates):
        labels = as_map(sight.metadata.get("labels"))
        queue = as_text(labels.get("kueue.x-k8s.io/queue-name"))
        where = f'queue "{queue}"' if queue else "a queue"
        return KUEUE.found(f"{_upper(sight.name)} waits in {where} of Kueue", evidence=[line])
    names = ", ".join(f'"{gate}"' for gate in gates)
    return GATED.found(
        f"{_upper(sight.name)} is held back by scheduling gate {names}".rstrip(), evidence=[line]
    )


def _scaling(sight: Sight) -> Diagnosis | None:
    """A promise of nodes, unless the autoscaler has taken it back since."""
    told = sight.told(
        "TriggeredScaleUp", "Nominated", "NotTriggerScaleUp", "FailedScaleUp", "FailedToScaleUp"
    )
    if not told or told[0].reason not in ("TriggeredScaleUp", "Nominated"):
        return None
    return SCALING.found(
        f"{_upper(sight.name)} waits for nodes that were ordered for it", evidence=[told[0].line()]
    )


def _unschedulable(sight: Sight, text: str) -> Iterator[Diagnosis]:
    # What follows speaks of preemption, in words that repeat the reasons.
    reasons = text.partition("preemption:")[0]
    evidence = [f"the scheduler says: {text}", *_refusal_to_scale(sight)]
    found = False
    for each in (*_absolute(sight, reasons), *_rooms(sight, reasons), *_others(sight, reasons)):
        category, words, fix = each
        found = True
        cause = f"{_upper(sight.name)} has no node: {words}"
        yield category.found(cause, fix=fix, evidence=evidence)
    if not found:
        yield UNSCHEDULABLE.found(f"The scheduler finds no node for {sight.name}", evidence=evidence)


def _absolute(sight: Sight, text: str) -> Iterator[tuple[Category, str, str]]:
    claim = _CLAIM.search(text)
    if claim is not None:
        words = f'there is no PersistentVolumeClaim "{claim[1]}" in namespace {sight.namespace}'
        yield CLAIM_MISSING, words, ""
    if "no nodes available" in text or text.startswith("0/0 nodes"):
        yield NO_NODES, "the cluster has none that could take pods", ""


def _rooms(sight: Sight, text: str) -> Iterator[tuple[Category, str, str]]:
    for count, resource in _INSUFFICIENT.findall(text):
        asked, most = requested(sight.pod, resource), largest(sight.nodes, resource)
        wanted = readable(resource, asked)
        asks = f" (it asks for {wanted})" if not asked.is_zero else ""
        if most is not None and asked > most:
            there = readable(resource, most)
            words = f"it asks for {wanted} of {resource}, and the largest node has {there}"
            fix = f"Lower `resources.requests` of {resource} to less than {there}, or add larger nodes."
            if most.is_zero:
                words = f"it asks for {wanted} of {resource}, which no node has"
                fix = f"Add nodes that have {resource}, or do not ask for it."
            yield TOO_BIG, words, fix
            continue
        category = {"cpu": CPU, "memory": MEMORY}.get(resource, RESOURCE)
        yield category, f"there is not enough {resource} free on {_count(int(count))}{asks}", ""


def _others(sight: Sight, text: str) -> Iterator[tuple[Category, str, str]]:
    # Transient reasons stand first in the table, requirements that no waiting cures behind them.
    for category, pattern, words in _COUNTED:
        counts = [int(match[1] or 0) for match in pattern.finditer(text)]
        if counts:
            told = words.format(count=_count(sum(counts)))
            yield category, told, _labels_asked(sight) if category is SELECTOR else ""
    for count, taint in _TAINTED.findall(text):
        shown = f' "{taint}"' if taint else "s"
        fix = (
            f'Add a toleration of "{taint}" to `tolerations` if the pod is meant for these nodes.'
            if taint
            else ""
        )
        yield TAINT, f"it does not tolerate the taint{shown} of {_count(int(count))}", fix


def _labels_asked(sight: Sight) -> str:
    selector = as_map(sight.spec.get("nodeSelector"))
    if not selector:
        return ""
    asked = ", ".join(
        f"{key}={_plain(value)}" for key, value in sorted(selector.items(), key=lambda item: str(item[0]))
    )
    return f"Correct `nodeSelector` ({asked}), or label a node so; `kubectl get nodes --show-labels` shows what there is."


def _refusal_to_scale(sight: Sight) -> list[str]:
    told: list[Told] = sight.told("NotTriggerScaleUp", "FailedScaleUp", "FailedToScaleUp")
    return [told[0].line()] if told else []


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _count(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
