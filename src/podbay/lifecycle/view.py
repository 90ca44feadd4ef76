"""What a pod's status says, in the few words that deciding needs. Pure.

Source of the rules: Kubernetes, "Pod Lifecycle"; kubelet status manager (status is written by the node until the pod
ends; the control plane writes it for a node that is lost).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from podbay.objects.meta import Object, name_of, namespace_of, uid_of
from podbay.pods.sidecar import SIDECAR_NAME

__all__ = ["ContainerView", "PodView", "Stage", "parse_time", "view_of"]

Stage: TypeAlias = Literal[
    "queued", "scheduling", "unschedulable", "pulling", "initializing", "starting", "running", "ended"
]
"""Where the pod is on its way: held by a scheduling gate; not looked at by a scheduler yet; no node has room or fits;
an image does not come; init containers run; containers are being made; the main container runs; nothing more will run."""

_LISTS = ("initContainerStatuses", "containerStatuses")
_PULLING = ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable")


@dataclass(frozen=True, slots=True)
class ContainerView:
    """One container's status."""

    name: str
    state: Literal["waiting", "running", "terminated"] = "waiting"
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    started_at: str = ""
    finished_at: str = ""
    began: bool = False
    """It has run, now or before."""
    restarts: int = 0
    image_id: str = ""


@dataclass(frozen=True, slots=True)
class PodView:
    """One pod's status."""

    namespace: str
    name: str
    uid: str
    stage: Stage
    phase: str
    reason: str
    """`status.reason`: Evicted, NodeLost, DeadlineExceeded, …"""
    message: str
    node: str
    main: ContainerView | None
    """The container that runs the task; None as long as the node says nothing of it."""
    sidecar: ContainerView | None
    """The result sidecar."""
    began: bool
    """Some container of the pod, an init container or a sidecar, has run."""
    deleted_at: datetime | None
    """When somebody asked for its deletion, by the API server's clock."""
    disruption: str
    """Reason of the condition DisruptionTarget: PreemptionByScheduler, EvictionByEvictionAPI, …"""
    disrupted_at: datetime | None
    waiting_for: str
    """What it waits for, in words of the status; empty when nothing is said."""
    ended_containers: tuple[str, ...]
    """Containers whose log is complete unless they are restarted."""


def view_of(pod: Object, container: str) -> PodView:
    """The status of a pod whose task runs in `container`."""
    status = pod.get("status") or {}
    metadata = pod.get("metadata") or {}
    containers = {view.name: view for view in _containers(status)}
    disruption = _condition(status, "DisruptionTarget")
    is_disrupted = disruption.get("status") == "True"
    stage, waiting_for = _stage(pod, containers, container)
    return PodView(
        namespace=namespace_of(pod),
        name=name_of(pod),
        uid=uid_of(pod),
        stage=stage,
        phase=str(status.get("phase") or "Pending"),
        reason=str(status.get("reason") or ""),
        message=str(status.get("message") or ""),
        node=str((pod.get("spec") or {}).get("nodeName") or ""),
        main=containers.get(container),
        sidecar=containers.get(SIDECAR_NAME),
        began=any(view.began for view in containers.values()),
        deleted_at=_deleted_at(metadata),
        disruption=str(disruption.get("reason") or "") if is_disrupted else "",
        disrupted_at=parse_time(disruption.get("lastTransitionTime")) if is_disrupted else None,
        waiting_for=waiting_for,
        ended_containers=tuple(n for n, v in containers.items() if v.state == "terminated"),
    )


def parse_time(text: object) -> datetime | None:
    """A metav1.Time; None for what is none."""
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")) if text else None
    except ValueError:
        return None


def _deleted_at(metadata: Mapping[str, Any]) -> datetime | None:
    """`deletionTimestamp` is when the grace period ends."""
    at = parse_time(metadata.get("deletionTimestamp"))
    if at is None:
        return None
    grace = metadata.get("deletionGracePeriodSeconds")
    return datetime.fromtimestamp(at.timestamp() - float(grace or 0), at.tzinfo)


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    for condition in status.get("conditions") or ():
        if condition.get("type") == kind:
            found: Mapping[str, Any] = condition
            return found
    return {}


def _containers(status: Mapping[str, Any]) -> Iterator[ContainerView]:
    for key in _LISTS:
        for each in status.get(key) or ():
            yield _container(each)


def _container(status: Mapping[str, Any]) -> ContainerView:
    state = status.get("state") or {}
    last = (status.get("lastState") or {}).get("terminated") or {}
    restarts = int(status.get("restartCount") or 0)
    terminated, running = state.get("terminated"), state.get("running")
    waiting = state.get("waiting") or {}
    began = restarts > 0 or bool(last.get("startedAt"))
    name, image_id = str(status.get("name") or ""), str(status.get("imageID") or "")
    if terminated is not None:
        return ContainerView(
            name,
            "terminated",
            reason=str(terminated.get("reason") or ""),
            message=str(terminated.get("message") or ""),
            exit_code=int(terminated.get("exitCode") or 0),
            started_at=str(terminated.get("startedAt") or ""),
            finished_at=str(terminated.get("finishedAt") or ""),
            began=began or _has_started(terminated),
            restarts=restarts,
            image_id=image_id,
        )
    if running is not None:
        started_at = str(running.get("startedAt") or "")
        return ContainerView(
            name, "running", began=True, started_at=started_at, restarts=restarts, image_id=image_id
        )
    reason, message = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
    return ContainerView(
        name, "waiting", reason=reason, message=message, began=began, restarts=restarts, image_id=image_id
    )


def _has_started(terminated: Mapping[str, Any]) -> bool:
    """A container that could not be started is told of as terminated, too, at the beginning of time."""
    if terminated.get("reason") in ("StartError", "ContainerCannotRun"):
        return False
    if terminated.get("reason") == "ContainerStatusUnknown":
        # The node cannot tell; it may have run.
        return True
    at = parse_time(terminated.get("startedAt"))
    return at is not None and at.year > 1970


def _stage(pod: Object, containers: Mapping[str, ContainerView], container: str) -> tuple[Stage, str]:
    status = pod.get("status") or {}
    main = containers.get(container)
    if status.get("phase") in ("Succeeded", "Failed") or (main is not None and _is_final(pod, main)):
        return "ended", ""
    if main is not None and main.state == "running":
        return "running", ""
    if not (pod.get("spec") or {}).get("nodeName"):
        return _unbound_stage(status)
    return _starting_stage(pod, containers, main)


def _is_final(pod: Object, main: ContainerView) -> bool:
    """It has ended and will not be restarted."""
    policy = (pod.get("spec") or {}).get("restartPolicy") or "Always"
    if main.state != "terminated" or policy == "Always":
        return False
    return policy == "Never" or main.exit_code == 0


def _unbound_stage(status: Mapping[str, Any]) -> tuple[Stage, str]:
    condition = _condition(status, "PodScheduled")
    message = str(condition.get("message") or "")
    if condition.get("reason") == "SchedulingGated":
        return "queued", message or "a scheduling gate"
    if condition.get("status") == "False":
        return "unschedulable", message
    return "scheduling", ""


def _starting_stage(
    pod: Object, containers: Mapping[str, ContainerView], main: ContainerView | None
) -> tuple[Stage, str]:
    spec = pod.get("spec") or {}
    sidecars = {c.get("name") for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
    inits = {c.get("name") for c in spec.get("initContainers") or ()} - sidecars
    for view in containers.values():
        if view.state == "waiting" and view.reason in _PULLING:
            return "pulling", view.message or view.reason
    if any(view.state == "running" and name in inits for name, view in containers.items()):
        return "initializing", ""
    blocked = main if main is not None and main.reason not in ("", "PodInitializing") else None
    if blocked is None:
        # The main container waits for others: the first of them that is neither running nor done tells why.
        blocked = next((v for v in containers.values() if v.state == "waiting" and v.reason), None)
    if blocked is not None and blocked.message:
        return "starting", f"{blocked.reason}: {blocked.message}"
    return "starting", ""
