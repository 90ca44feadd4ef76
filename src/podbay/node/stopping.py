"""Stopping containers: preStop within the grace period, the stop signal, SIGKILL; sidecars after the others.

Source: pkg/kubelet/kuberuntime/kuberuntime_container.go (killContainer), kuberuntime_termination_order.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from podbay.errors import PodbayError
from podbay.node.handlers import Target
from podbay.node.parts import NodeParts
from podbay.node.podspec import all_containers
from podbay.node.record import PodRecord
from podbay.objects.meta import Object

__all__ = ["StopOrder", "stop_container"]

MINIMUM_SECONDS = 2.0
"""Every container gets this long between the signal and SIGKILL."""


class StopOrder:
    """When each container of a pod that stops as a whole gets its signal.

    Main containers at once; sidecars in reverse order, each after all main containers and the later sidecars have ended.
    """

    def __init__(self, spec: Object, running: Sequence[str]) -> None:
        kinds = {c["name"]: kind for kind, c in all_containers(spec)}
        self._ended = {name: asyncio.Event() for name in running}
        self._before: dict[str, list[str]] = {}
        later = [name for name in running if kinds.get(name) != "sidecar"]
        sidecars = [
            c["name"] for kind, c in all_containers(spec) if kind == "sidecar" and c["name"] in running
        ]
        for name in reversed(sidecars):
            self._before[name] = list(later)
            later.append(name)

    def ended(self, name: str) -> None:
        """Lets those go on that wait for this container."""
        if name in self._ended:
            self._ended[name].set()

    async def turn(self, name: str) -> None:
        """Return when it is this container's turn."""
        for other in self._before.get(name, ()):
            await self._ended[other].wait()


async def stop_container(
    parts: NodeParts,
    record: PodRecord,
    container: Object,
    container_id: str,
    *,
    message: str = "",
    grace: float,
    turn: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Stop one container and return when it has ended. message is what its Killing event says."""
    name = container["name"]
    parts.recorder.pod(
        record.pod, "Normal", "Killing", message or f"Stopping container {name}", container=name
    )
    began = parts.clock.monotonic()
    hook = (container.get("lifecycle") or {}).get("preStop")
    if hook and grace > 0 and record.sandbox is not None:
        await _pre_stop(parts, record, container, container_id, hook=hook, seconds=grace)
    left = grace - int(parts.clock.monotonic() - began)
    if turn is not None and left > 0:
        await _within(turn(), left)
        left = grace - int(parts.clock.monotonic() - began)
    await parts.runtime.stop_container(container_id, max(MINIMUM_SECONDS, left))


async def _pre_stop(
    parts: NodeParts, record: PodRecord, container: Object, container_id: str, *, hook: Object, seconds: float
) -> None:
    assert record.sandbox is not None
    target = Target(record.pod, container, container_id, record.sandbox, parts.facts.ip)
    try:
        async with asyncio.timeout(seconds):
            answer = await parts.handlers.hook(target, hook)
    except TimeoutError:
        return
    except PodbayError:
        # The container ended while the hook ran.
        return
    if not answer.healthy:
        name = container["name"]
        parts.recorder.pod(record.pod, "Warning", "FailedPreStopHook", "PreStopHook failed", container=name)


async def _within(waiting: Awaitable[None], seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        return
