"""The status a kubelet would report for a pod in a given moment of its life. Pure.

Source: pkg/kubelet/status/generate.go (conditions), pkg/kubelet/kubelet_pods.go (phase, container statuses).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from podbay.embedded.scripted.life import ContainerLife, PodLife, Termination
from podbay.objects.events import timestamp
from podbay.objects.meta import Object, uid_of

__all__ = ["container_statuses", "exact_start", "phase_of", "pod_status"]


def _moment(seconds: float) -> str:
    return timestamp(datetime.fromtimestamp(seconds, UTC))


def _container_id(life: PodLife, name: str, attempt: int) -> str:
    digest = sha256(f"{uid_of(life.pod)}/{name}/{attempt}".encode()).hexdigest()
    return f"podbay://{digest[:48]}{round(life.started_at * 1e6):016x}"


def exact_start(status: Object) -> float:
    """When the pod of this status began, in seconds since the epoch.

    `startTime` has whole seconds; another process that plays on must stamp log lines as the first one did, so ids of
    containers end with the microsecond.
    """
    whole = datetime.strptime(status["startTime"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    for field in ("containerStatuses", "initContainerStatuses"):
        for container in status.get(field) or ():
            digits = str(container.get("containerID") or "")[-16:]
            try:
                exact = int(digits, 16) / 1e6
            except ValueError:
                continue
            if whole <= exact < whole + 1.0:
                return exact
    return whole


def _terminated(life: PodLife, name: str, end: Termination) -> Object:
    state: Object = {"exitCode": end.exit_code}
    if end.signal:
        state["signal"] = end.signal
    state["reason"] = end.reason
    if end.message:
        state["message"] = end.message
    state["startedAt"] = _moment(end.started_at)
    state["finishedAt"] = _moment(end.finished_at)
    state["containerID"] = _container_id(life, name, end.attempt)
    return {"terminated": state}


def _state(life: PodLife, container: ContainerLife) -> Object:
    if container.state == "running":
        return {"running": {"startedAt": _moment(container.started_at)}}
    if container.state == "terminated":
        assert container.ended is not None
        return _terminated(life, container.name, container.ended)
    if container.state == "waiting":
        waiting = {"reason": container.reason}
        if container.message:
            waiting["message"] = container.message
        return {"waiting": waiting}
    initializing = bool(life.of_kind("init", "sidecar"))
    return {"waiting": {"reason": "PodInitializing" if initializing else "ContainerCreating"}}


def _container_status(life: PodLife, container: ContainerLife, spec: Object) -> Object:
    last = container.ended if container.state != "terminated" else container.previous
    last = last or container.previous
    ready = container.ready
    if container.kind == "init":
        ready = container.succeeded
    status: Object = {
        "name": container.name,
        "state": _state(life, container),
        "lastState": _terminated(life, container.name, last) if last else {},
        "ready": ready,
        "restartCount": container.restarts,
        "image": spec.get("image") or "",
        "imageID": "",
        "started": container.state == "running",
    }
    if container.state in ("running", "terminated") or last:
        attempt = container.restarts if container.state != "waiting" else (last.attempt if last else 0)
        status["containerID"] = _container_id(life, container.name, attempt)
        status["imageID"] = "sha256:" + sha256((spec.get("image") or "").encode()).hexdigest()
        status["resources"] = spec.get("resources") or {}
        status["user"] = {"linux": {"uid": 0, "gid": 0, "supplementalGroups": [0]}}
    return status


def _statuses(life: PodLife, field: str, kinds: Sequence[str]) -> list[Object]:
    specs = {c["name"]: c for c in life.pod["spec"].get(field) or ()}
    return [_container_status(life, c, specs[c.name]) for c in life.of_kind(*kinds)]


def container_statuses(life: PodLife) -> Object:
    """The part of the status that tells of containers."""
    found: Object = {"containerStatuses": _statuses(life, "containers", ("main",))}
    if life.pod["spec"].get("initContainers"):
        found["initContainerStatuses"] = _statuses(life, "initContainers", ("init", "sidecar"))
    return found


def phase_of(life: PodLife) -> str:
    """Pending, Running, Succeeded or Failed."""
    if life.killing:
        return "Failed"
    mains, inits = life.of_kind("main"), life.of_kind("init", "sidecar")
    if life.over:
        failed = [c for c in mains if not c.succeeded] or [
            c for c in inits if c.kind == "init" and not c.succeeded
        ]
        return "Failed" if failed else "Succeeded"
    if not life.initialized:
        return "Pending"
    # A container between two attempts counts as stopped, one that never ran as waiting.
    if any(c.state == "waiting" and c.ended is None for c in mains):
        return "Pending"
    return "Running"


def _condition(kind: str, true: bool, *, reason: str = "", message: str = "") -> Object:
    found: Object = {"type": kind, "status": "True" if true else "False"}
    if not true or reason == "PodCompleted":
        found |= {k: v for k, v in (("reason", reason), ("message", message)) if v}
    return found


def _names(containers: Sequence[ContainerLife]) -> str:
    return "[" + " ".join(c.name for c in containers) + "]"


def _conditions(life: PodLife, phase: str) -> list[Object]:
    terminal = phase in ("Succeeded", "Failed")
    incomplete = [
        c
        for c in life.of_kind("init", "sidecar")
        if not (c.succeeded if c.kind == "init" else life.initialized or c.state == "running")
    ]
    unready = [c for c in life.of_kind("sidecar", "main") if not c.ready]
    completed = "PodCompleted" if phase == "Succeeded" else ""
    if terminal:
        reason, message = "PodCompleted" if completed else "PodFailed", ""
    else:
        reason, message = "ContainersNotReady", f"containers with unready status: {_names(unready)}"
    ready = not terminal and not unready and life.created
    initialized = _condition(
        "Initialized",
        not incomplete or bool(completed),
        reason=completed or "ContainersNotInitialized",
        message=f"containers with incomplete status: {_names(incomplete)}",
    )
    if completed:
        initialized.pop("message", None)
    found = [
        _condition("PodReadyToStartContainers", life.created and not life.over),
        initialized,
        _condition("Ready", ready, reason=reason, message=message),
        _condition("ContainersReady", ready, reason=reason, message=message),
    ]
    if life.killing == "Evicted":
        evicted = {"reason": "TerminationByKubelet", "message": life.killing_message}
        found.append({"type": "DisruptionTarget", "status": "True", **evicted})
    return found


def _timed(life: PodLife, fresh: Sequence[Object], now: float) -> list[Object]:
    """Conditions with times, transition times kept where nothing changed; foreign conditions kept."""
    old = {c["type"]: c for c in (life.pod.get("status") or {}).get("conditions") or ()}
    generation = life.pod["metadata"].get("generation")
    conditions: list[Object] = []
    for condition in fresh:
        before = old.pop(condition["type"], None)
        same = before is not None and before.get("status") == condition["status"]
        moment = before["lastTransitionTime"] if same and before else _moment(now)
        observed: Object = {"observedGeneration": generation} if generation else {}
        times: Object = {"lastProbeTime": None, "lastTransitionTime": moment}
        rest: Object = {k: condition[k] for k in ("reason", "message") if k in condition}
        entry: Object = {"type": condition["type"], **observed, "status": condition["status"]}
        conditions.append({**entry, **times, **rest})
    scheduled = old.pop("PodScheduled", None)
    if scheduled is not None:
        if generation:
            scheduled = {**scheduled, "observedGeneration": generation}
        conditions.append(scheduled)
    return conditions + list(old.values())


def pod_status(life: PodLife, now: float, *, host_ip: str, pod_ip: str) -> Object:
    """The status to merge into the pod's; now is on the life's axis, which must be seconds since the epoch."""
    phase = phase_of(life)
    status: dict[str, Any] = {
        "phase": phase,
        "conditions": _timed(life, _conditions(life, phase), now),
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "startTime": _moment(life.started_at),
        **container_statuses(life),
        "resources": {},
    }
    if generation := life.pod["metadata"].get("generation"):
        status["observedGeneration"] = generation
    if life.created:
        status |= {"podIP": pod_ip, "podIPs": [{"ip": pod_ip}]}
    if life.killing:
        status |= {"reason": life.killing, "message": life.killing_message}
    return status
