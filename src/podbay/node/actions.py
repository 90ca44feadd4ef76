"""What is to be done next for a pod: which containers to start, which to stop, whether it is over. Pure.

Order: sandbox, init containers one after another (sidecars stay), then all main containers. Back-off between attempts
is the caller's (`restarts`). Source: pkg/kubelet/kuberuntime/kuberuntime_manager.go (computePodActions).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from podbay.node.observed import ContainerState, ContainerStatus
from podbay.node.podspec import is_sidecar, restarts_after
from podbay.node.view import View
from podbay.objects.meta import Object

__all__ = ["Actions", "Stop", "decide"]

_OVER = (ContainerState.EXITED, ContainerState.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A running container that must end. message is what its Killing event says; cause picks the grace period."""

    name: str
    container_id: str
    message: str = ""
    cause: Literal["", "liveness", "startup"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """start holds names in order. finish: nothing is to run any more, stop what still does and report the end."""

    new_sandbox: bool = False
    start: tuple[str, ...] = ()
    stop: tuple[Stop, ...] = ()
    finish: bool = False


def decide(view: View) -> Actions:
    """The next step. Looking again after it was taken gives the step after it, an empty one when all is well."""
    if view.sandbox is None or not view.sandbox.ready:
        return _without_sandbox(view)
    ephemeral = [
        c["name"] for c in view.spec.get("ephemeralContainers") or () if view.latest(c["name"]) is None
    ]
    found = _initialize(view)
    if not isinstance(found, list):
        return Actions(start=(*ephemeral, *found.start), stop=found.stop, finish=found.finish)
    return _run_mains(view, ephemeral, found)


def _without_sandbox(view: View) -> Actions:
    lost = view.sandbox is not None
    spec = view.spec
    if lost and any(view.attempts.values()):
        if spec.get("restartPolicy") == "Never" and not _any_overrides(spec):
            return Actions(finish=True)
        if view.any_main_started() and not any(view.should_start(c) for c in spec["containers"]):
            return Actions(finish=True)
    return Actions(new_sandbox=True)


def _any_overrides(spec: Object) -> bool:
    return any(c.get("restartPolicy") for c in spec["containers"])


# --- init containers ---------------------------------------------------------------------------------------------


def _initialize(view: View) -> Actions | list[Actions]:
    """What init containers still need; a list once main containers may run, with what sidecars need meanwhile."""
    inits: Sequence[Object] = view.spec.get("initContainers") or ()
    if view.any_main_started():
        return [_tend_sidecar(view, c) for c in inits if is_sidecar(c)]
    tended: list[Actions] = []
    for container in inits:
        status = view.latest(container["name"])
        if is_sidecar(container):
            tended.append(_tend_sidecar(view, container))
            if status is None or not view.is_started(container, status):
                return _merged(tended)
        elif status is None or status.state not in _OVER or status.exit_code != 0:
            return _merged([*tended, _next_init(view, container, status)])
    return tended


def _next_init(view: View, container: Object, status: ContainerStatus | None) -> Actions:
    if status is not None and status.state == ContainerState.RUNNING:
        return Actions()
    if (
        status is not None
        and status.state in _OVER
        and not restarts_after(view.spec, container, status.exit_code, init=True)
    ):
        return Actions(finish=True)
    return Actions(start=(container["name"],))


def _tend_sidecar(view: View, container: Object) -> Actions:
    status = view.latest(container["name"])
    if status is None or status.state != ContainerState.RUNNING:
        return Actions(start=(container["name"],))
    probe = _failed_probe(view, status)
    if probe is None:
        return Actions()
    message = f"Init container {container['name']} failed {probe} probe"
    return Actions(stop=(Stop(name=container["name"], container_id=status.id, message=message, cause=probe),))


def _merged(parts: Sequence[Actions]) -> Actions:
    if any(part.finish for part in parts):
        return Actions(finish=True)
    return Actions(
        start=tuple(name for part in parts for name in part.start),
        stop=tuple(stop for part in parts for stop in part.stop),
    )


# --- main containers ---------------------------------------------------------------------------------------------


def _run_mains(view: View, ephemeral: Sequence[str], sidecars: Sequence[Actions]) -> Actions:
    kept, start, stop = 0, [], []
    for container in view.spec["containers"]:
        status = view.latest(container["name"])
        if status is None or status.state != ContainerState.RUNNING:
            if view.should_start(container):
                start.append(container["name"])
            continue
        probe = _failed_probe(view, status)
        if probe is None:
            kept += 1
            continue
        message = f"Container {container['name']} failed {probe} probe"
        # 137 stands for any failure: whoever ends by a probe has failed.
        if restarts_after(view.spec, container, 137):
            kept += 1
            message += ", will be restarted"
        stop.append(Stop(name=container["name"], container_id=status.id, message=message, cause=probe))
    if not kept and not start:
        return Actions(finish=True)
    beside = _merged(sidecars)
    return Actions(start=(*ephemeral, *beside.start, *start), stop=(*beside.stop, *stop))


def _failed_probe(view: View, status: ContainerStatus) -> Literal["liveness", "startup"] | None:
    if view.probes.liveness.get(status.id) is False:
        return "liveness"
    return "startup" if view.probes.startup.get(status.id) is False else None
