"""The status a kubelet reports for a pod: phase, conditions, container statuses, addresses. Pure.

Source: pkg/kubelet/kubelet_pods.go (generateAPIPodStatus, getPhase), pkg/kubelet/status/status_manager.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from podbay.apiserver.quota.pod_resources import pod_limits, pod_requests
from podbay.node.conditions import condition, merge_conditions, pod_conditions
from podbay.node.container_status import container_statuses, terminated_unseen
from podbay.node.podspec import is_sidecar
from podbay.node.view import View
from podbay.objects.events import timestamp
from podbay.objects.meta import Object

__all__ = ["final_status", "phase_of", "pod_status"]

_KEPT = (
    "qosClass",
    "nominatedNodeName",
    "resize",
    "resourceClaimStatuses",
    "extendedResourceClaimStatus",
    "hostIP",
    "hostIPs",
    "podIP",
    "podIPs",
    "startTime",
)
"""Fields that others set, or that stay once they are known."""


def pod_status(view: View, now: datetime, *, host_ip: str, runtime: str) -> Object:
    """The whole status. A phase that ends the pod is only given once everything has stopped (view.ended)."""
    inits = container_statuses(view, ("init", "sidecar"), runtime=runtime)
    mains = container_statuses(view, ("main",), runtime=runtime)
    phase = phase_of(view, inits, mains)
    if phase in ("Succeeded", "Failed") and not view.ended and view.running():
        # Sidecars are still being stopped.
        phase = (view.pod.get("status") or {}).get("phase") or "Running"
    return _assemble(view, now, phase=phase, inits=inits, mains=mains, host_ip=host_ip, runtime=runtime)


def final_status(view: View, now: datetime, *, host_ip: str, runtime: str) -> Object:
    """The status of a pod that will never run again: what was not seen to end counts as failed."""
    inits = container_statuses(view, ("init", "sidecar"), runtime=runtime)
    mains = container_statuses(view, ("main",), runtime=runtime)
    lost = mains if _has_initialized(view, inits, mains) else []
    begun = [i for i, s in enumerate(inits) if not _is_waiting(s)]
    for status in [*lost, *inits[: begun[-1] + 1 if begun else 0]]:
        if "terminated" not in status["state"]:
            _mark_failed(status)
    phase = phase_of(view, inits, mains)
    if phase not in ("Succeeded", "Failed"):
        phase = "Failed"
    return _assemble(view, now, phase=phase, inits=inits, mains=mains, host_ip=host_ip, runtime=runtime)


def _has_initialized(view: View, inits: Sequence[Object], mains: Sequence[Object]) -> bool:
    if not view.spec.get("initContainers") or any(not _is_waiting(s) for s in mains):
        return True
    return (inits[-1]["state"].get("terminated") or {}).get("exitCode") == 0


def _mark_failed(status: Object) -> None:
    if "terminated" in status["lastState"] and "waiting" in status["state"]:
        status["state"], status["lastState"] = status["lastState"], {}
    else:
        status["state"] = {"terminated": terminated_unseen("terminated")}
    status["ready"] = status["started"] = False


def _assemble(
    view: View,
    now: datetime,
    *,
    phase: str,
    inits: Sequence[Object],
    mains: Sequence[Object],
    host_ip: str,
    runtime: str,
) -> Object:
    pod, moment = view.pod, timestamp(now)
    old = pod.get("status") or {}
    status: Object = {key: old[key] for key in _KEPT if key in old}
    over = phase in ("Succeeded", "Failed")
    ready = view.sandbox is not None and view.sandbox.ready and not over
    fresh = pod_conditions(pod, phase, inits=inits, mains=mains, sandbox_ready=ready)
    if view.outcome is not None and view.outcome.reason == "Evicted":
        fresh.append(condition("DisruptionTarget", True, "TerminationByKubelet", view.outcome.message))
    status |= {
        "phase": phase,
        "conditions": merge_conditions(pod, fresh, moment),
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "containerStatuses": mains,
        "resources": _pod_resources(pod, over=over),
    }
    if requests := pod_requests(pod):
        status["allocatedResources"] = {name: str(quantity) for name, quantity in requests.items()}
    status.setdefault("startTime", moment)
    if generation := pod["metadata"].get("generation"):
        status["observedGeneration"] = generation
    if inits:
        status["initContainerStatuses"] = inits
    if ephemeral := container_statuses(view, ("ephemeral",), runtime=runtime):
        status["ephemeralContainerStatuses"] = ephemeral
    ips = _pod_ips(view, host_ip)
    if ips:
        status |= {"podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]}
    if view.outcome is not None and over:
        status |= {"reason": view.outcome.reason, "message": view.outcome.message}
    return status


def _pod_ips(view: View, host_ip: str) -> Sequence[str]:
    if view.sandbox is None:
        return ()
    return [host_ip] if view.spec.get("hostNetwork") else view.sandbox.ips


def _pod_resources(pod: Object, *, over: bool) -> Object:
    """What the pod's cgroup holds; of an ended pod only what is not read back from there: the memory requests."""
    requests = {k: str(q) for k, q in pod_requests(pod).items() if k in ("cpu", "memory")}
    if over:
        memory = requests.get("memory")
        return {"requests": {"memory": memory}} if memory else {}
    limits = {k: str(q) for k, q in pod_limits(pod).items() if k in ("cpu", "memory")}
    return {name: values for name, values in (("limits", limits), ("requests", requests)) if values}


def phase_of(view: View, inits: Sequence[Object], mains: Sequence[Object]) -> str:
    """Pending, Running, Succeeded or Failed."""
    if view.outcome is not None and view.ended:
        return "Failed"
    sidecars = {c["name"] for c in view.spec.get("initContainers") or () if is_sidecar(c)}
    regular = [s for s in inits if s["name"] not in sidecars]
    policy = view.spec.get("restartPolicy") or "Always"
    if policy == "Never" and any(_has_failed(s) for s in regular):
        return "Failed"
    begun = any("running" in s["state"] or "terminated" in s["state"] for s in mains)
    beside = [s for s in inits if s["name"] in sidecars]
    unstarted = any(_is_pending_sidecar(s) for s in beside) and not begun
    waiting = any(_is_waiting(s) for s in [*mains, *beside])
    if unstarted or waiting or any(_is_pending(s) for s in regular):
        return "Pending"
    if any("running" in s["state"] for s in [*mains, *beside]):
        return "Running"
    return _stopped_phase(view, mains)


def _stopped_phase(view: View, mains: Sequence[Object]) -> str:
    succeeded = all((s["state"].get("terminated") or {}).get("exitCode") == 0 for s in mains)
    if view.ended:
        return "Succeeded" if succeeded else "Failed"
    # All have stopped for now; whoever is started again keeps the pod running.
    if any(view.should_start(c) for c in view.spec["containers"]):
        return "Running"
    return "Succeeded" if succeeded else "Failed"


def _is_waiting(status: Object) -> bool:
    return "waiting" in status["state"] and "terminated" not in status["lastState"]


def _is_pending(status: Object) -> bool:
    return "running" in status["state"] or _is_waiting(status)


def _is_pending_sidecar(status: Object) -> bool:
    return ("running" in status["state"] and not status["started"]) or _is_waiting(status)


def _has_failed(status: Object) -> bool:
    ended = status["state"].get("terminated") or (
        status["lastState"].get("terminated") if "waiting" in status["state"] else None
    )
    return ended is not None and ended["exitCode"] != 0
