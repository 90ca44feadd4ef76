"""containerStatuses as a kubelet reports them, from what the runtime says and why starts failed. Pure.

Source: pkg/kubelet/kubelet_pods.go (convertToAPIContainerStatuses), pkg/kubelet/prober/prober_manager.go (UpdatePodStatus).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from podbay.node.labels import IMAGE_ID
from podbay.node.observed import ContainerState, ContainerStatus
from podbay.node.podspec import ContainerKind, all_containers
from podbay.node.view import View
from podbay.objects.events import timestamp
from podbay.objects.meta import Object

__all__ = ["container_statuses", "moment", "terminated_unseen"]

_UNSEEN = "The container could not be located when the pod was "


def moment(time_ns: int) -> str:
    """metav1.Time of nanoseconds since the epoch."""
    return timestamp(datetime.fromtimestamp(time_ns // 1_000_000_000, UTC))


def terminated_unseen(when: str) -> Object:
    """The end of a container of which nothing is left; when is "deleted" or "terminated"."""
    tail = ".  The container used to be Running" if when == "deleted" else ""
    return {
        "exitCode": 137,
        "reason": "ContainerStatusUnknown",
        "message": f"{_UNSEEN}{when}{tail}",
        "startedAt": None,
        "finishedAt": None,
    }


def container_statuses(view: View, kinds: Sequence[ContainerKind], *, runtime: str) -> list[Object]:
    """The statuses of all containers of these kinds, in the order of the spec. runtime prefixes container ids."""
    old = _old_statuses(view.pod)
    return [
        _status(view, kind, container, old.get(container["name"]), runtime=runtime)
        for kind, container in all_containers(view.spec)
        if kind in kinds
    ]


def _old_statuses(pod: Object) -> dict[str, Object]:
    status = pod.get("status") or {}
    lists = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
    return {one["name"]: one for field in lists for one in status.get(field) or ()}


def _status(
    view: View, kind: ContainerKind, container: Object, old: Object | None, *, runtime: str
) -> Object:
    attempts = view.attempts.get(container["name"]) or ()
    if attempts:
        status = _seen(view, container, attempts, runtime)
    else:
        status = _unseen(view, container, old)
    reason = view.reasons.get(container["name"])
    latest = attempts[0] if attempts else None
    succeeded = kind == "init" and latest is not None and _has_succeeded(latest)
    if reason is not None and not succeeded and view.should_start(container, init=kind == "init"):
        if "terminated" in status["state"]:
            status["lastState"] = status["state"]
        waiting = {"reason": reason.reason}
        if reason.message:
            waiting["message"] = reason.message
        status["state"] = {"waiting": waiting}
    _judge(view, kind, container, status, latest)
    return status


def _has_succeeded(status: ContainerStatus) -> bool:
    return status.state == ContainerState.EXITED and status.exit_code == 0


def _seen(view: View, container: Object, attempts: Sequence[ContainerStatus], runtime: str) -> Object:
    latest = attempts[0]
    status: Object = {
        "name": container["name"],
        "state": _state(view, latest, runtime),
        "lastState": _state(view, attempts[1], runtime) if len(attempts) > 1 else {},
        "restartCount": latest.attempt,
        "image": latest.image,
        "imageID": latest.labels.get(IMAGE_ID) or latest.image_id,
        "containerID": f"{runtime}://{latest.id}",
        "resources": _resources(container),
        **_mounts(container),
    }
    requests = (container.get("resources") or {}).get("requests")
    if requests:
        status["allocatedResources"] = dict(requests)
    if latest.user is not None:
        # Runtimes report the primary group among the supplementary ones.
        groups = sorted({latest.user.gid, *latest.user.groups})
        status["user"] = {
            "linux": {"uid": latest.user.uid, "gid": latest.user.gid, "supplementalGroups": groups}
        }
    return status


def _unseen(view: View, container: Object, old: Object | None) -> Object:
    """A container the runtime knows nothing of: not started yet, or lost."""
    if old is not None and "terminated" in (old.get("state") or {}):
        return {**old, "lastState": old.get("lastState") or {}}
    initializing = bool(view.spec.get("initContainers"))
    status: Object = {
        "name": container["name"],
        "state": {"waiting": {"reason": "PodInitializing" if initializing else "ContainerCreating"}},
        "lastState": (old or {}).get("lastState") or {},
        "restartCount": (old or {}).get("restartCount") or 0,
        "image": container.get("image") or "",
        "imageID": "",
        **_mounts(container),
    }
    if old is not None and "running" in (old.get("state") or {}) and not status["lastState"]:
        # It ran, and nothing of it is left.
        status["lastState"] = {"terminated": terminated_unseen("deleted")}
        if not view.pod["metadata"].get("deletionTimestamp"):
            status["restartCount"] += 1
    return status


def _state(view: View, status: ContainerStatus, runtime: str) -> Object:
    if status.state == ContainerState.RUNNING:
        return {"running": {"startedAt": moment(status.started_ns)}}
    if status.state == ContainerState.CREATED:
        return {"waiting": {"reason": "ContainerCreating"}}
    return {"terminated": _terminated(view, status, runtime)}


def _terminated(view: View, status: ContainerStatus, runtime: str) -> Object:
    unknown = status.state == ContainerState.UNKNOWN
    exit_code = 255 if unknown else status.exit_code
    ended: Object = {"exitCode": exit_code, "reason": _reason(status, exit_code)}
    parts = [part for part in (status.message, view.messages.get(status.id, "")) if part]
    if parts:
        ended["message"] = ": ".join(parts)
    ended["startedAt"] = moment(status.started_ns)
    ended["finishedAt"] = moment(status.finished_ns)
    ended["containerID"] = f"{runtime}://{status.id}"
    return ended


def _reason(status: ContainerStatus, exit_code: int) -> str:
    if status.reason:
        return status.reason
    if status.oom_killed:
        return "OOMKilled"
    if status.state == ContainerState.UNKNOWN:
        return "Unknown"
    return "Completed" if exit_code == 0 else "Error"


def _resources(container: Object) -> Object:
    given: Mapping[str, Any] = container.get("resources") or {}
    return {part: dict(given[part]) for part in ("limits", "requests") if given.get(part)}


def _mounts(container: Object) -> Object:
    found = []
    for mount in container.get("volumeMounts") or ():
        one: Object = {"name": mount["name"], "mountPath": mount["mountPath"]}
        if mount.get("readOnly"):
            one["readOnly"] = True
            asked = mount.get("recursiveReadOnly")
            one["recursiveReadOnly"] = "Enabled" if asked in ("Enabled", "IfPossible") else "Disabled"
        found.append(one)
    return {"volumeMounts": found} if found else {}


def _judge(
    view: View, kind: ContainerKind, container: Object, status: Object, latest: ContainerStatus | None
) -> None:
    """started and ready, as probes and kind have it."""
    running = latest is not None and "running" in status["state"]
    started = running and latest is not None and view.is_started(container, latest)
    status["started"] = started
    if kind == "init":
        status["ready"] = latest is not None and _has_succeeded(latest) and "terminated" in status["state"]
        if latest is None and (status["state"].get("terminated") or {}).get("exitCode") == 0:
            status["ready"] = True
        return
    ready = started
    if ready and latest is not None and container.get("readinessProbe") is not None:
        ready = view.probes.readiness.get(latest.id, False)
    status["ready"] = ready
    if kind == "ephemeral":
        # Debug containers have neither probes nor readiness.
        status["ready"] = False
        status.pop("started")
