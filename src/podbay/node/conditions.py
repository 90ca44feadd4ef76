"""Pod conditions as a kubelet reports them. Pure.

Source: pkg/kubelet/status/generate.go, pkg/kubelet/status/status_manager.go (transition times, foreign conditions).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from podbay.node.podspec import is_sidecar
from podbay.objects.meta import Object
from podbay.objects.quoting import go_quote

__all__ = ["condition", "merge_conditions", "pod_conditions"]

_OURS = frozenset(["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"])


def condition(kind: str, true: bool, reason: str = "", message: str = "") -> Object:
    """A condition without its times."""
    found: Object = {"type": kind, "status": "True" if true else "False"}
    return found | {k: v for k, v in (("reason", reason), ("message", message)) if v}


def pod_conditions(
    pod: Object, phase: str, *, inits: Sequence[Object], mains: Sequence[Object], sandbox_ready: bool
) -> list[Object]:
    """All conditions the kubelet owns, in its order; inits and mains are container statuses."""
    containers_ready = _containers_ready(pod, phase, inits, mains)
    ready = _ready(pod, containers_ready)
    return [
        condition("PodReadyToStartContainers", sandbox_ready),
        _initialized(pod, phase, inits, mains),
        {**ready, "type": "Ready"},
        {**containers_ready, "type": "ContainersReady"},
        condition("PodScheduled", True),
    ]


def _names(names: Iterable[str]) -> str:
    return "[" + " ".join(names) + "]"


def _containers_ready(pod: Object, phase: str, inits: Sequence[Object], mains: Sequence[Object]) -> Object:
    if phase == "Succeeded":
        return condition("", False, "PodCompleted")
    if phase == "Failed":
        return condition("", False, "PodFailed")
    by_name = {s["name"]: s for s in [*inits, *mains]}
    counted = [c["name"] for c in pod["spec"].get("initContainers") or () if is_sidecar(c)]
    counted += [c["name"] for c in pod["spec"]["containers"]]
    unready = [name for name in counted if not by_name[name]["ready"]]
    if unready:
        return condition(
            "", False, "ContainersNotReady", f"containers with unready status: {_names(unready)}"
        )
    return condition("", True)


def _ready(pod: Object, containers_ready: Object) -> Object:
    if containers_ready["status"] != "True":
        return containers_ready
    present = {c["type"]: c["status"] for c in (pod.get("status") or {}).get("conditions") or ()}
    missing = []
    for gate in pod["spec"].get("readinessGates") or ():
        kind = gate["conditionType"]
        if kind not in present:
            missing.append(f"corresponding condition of pod readiness gate {go_quote(kind)} does not exist.")
        elif present[kind] != "True":
            text = f'the status of pod readiness gate {go_quote(kind)} is not "True", but {present[kind]}'
            missing.append(text)
    if missing:
        return condition("", False, "ReadinessGatesNotReady", ", ".join(missing))
    return condition("", True)


def _initialized(pod: Object, phase: str, inits: Sequence[Object], mains: Sequence[Object]) -> Object:
    if phase == "Succeeded":
        return condition("Initialized", True, "PodCompleted")
    if any("running" in s["state"] or "terminated" in s["state"] for s in mains):
        return condition("Initialized", True)
    sidecars = {c["name"] for c in pod["spec"].get("initContainers") or () if is_sidecar(c)}
    incomplete = [s["name"] for s in inits if not (s["started"] if s["name"] in sidecars else s["ready"])]
    if incomplete:
        text = f"containers with incomplete status: {_names(incomplete)}"
        return condition("Initialized", False, "ContainersNotInitialized", text)
    return condition("Initialized", True)


def merge_conditions(pod: Object, fresh: Sequence[Object], now: str) -> list[Object]:
    """fresh with times and generation, after the conditions others set; a condition that did not change keeps its time.

    fresh may contain conditions beside the kubelet's five (DisruptionTarget); they replace those of the same type.
    """
    old: dict[str, Any] = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or ()}
    replaced = {c["type"] for c in fresh}
    merged = [c for kind, c in old.items() if kind not in _OURS and kind not in replaced]
    generation = pod["metadata"].get("generation")
    for one in sorted(fresh, key=lambda c: c["type"] in _OURS):
        before = old.get(one["type"])
        same = before is not None and before.get("status") == one["status"]
        times: Object = {
            "lastProbeTime": None,
            "lastTransitionTime": before["lastTransitionTime"] if same and before else now,
        }
        observed: Object = {"observedGeneration": generation} if generation else {}
        merged.append({"type": one["type"], **observed, **one, **times})
    return merged
