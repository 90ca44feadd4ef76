"""Ending a pod: all containers stopped in order and in time, then nothing of it left on the node.

Source: pkg/kubelet/kubelet.go (SyncTerminatingPod, SyncTerminatedPod), pkg/kubelet/pod_workers.go (grace periods).
"""

from __future__ import annotations

import asyncio

from podbay.aio.tasks import Service, TaskGroup
from podbay.errors import ApiError, PodbayError
from podbay.node.observed import ContainerState, ContainerStatus
from podbay.node.parts import PODS, NodeParts
from podbay.node.podspec import find_container, grace_period
from podbay.node.record import PodRecord
from podbay.node.runtime import SandboxStopper
from podbay.node.stopping import MINIMUM_SECONDS, StopOrder, stop_container
from podbay.node.volumes.keeper import runtime_volumes
from podbay.objects.meta import name_of, namespace_of, uid_of

__all__ = ["PodEnding"]

_OVER = (ContainerState.EXITED, ContainerState.UNKNOWN)
_SETTLE_SECONDS = 2.0
"""How long after a container was stopped the runtime may take to say so before it is asked."""


class PodEnding:
    """One attempt at ending a pod; may be made again after an error."""

    def __init__(self, parts: NodeParts, record: PodRecord, group: TaskGroup, changed: asyncio.Event) -> None:
        self._parts, self._record, self._group, self._changed = parts, record, group, changed
        self._errors: list[PodbayError] = []

    async def stop_all(self, *, override: float | None = None) -> None:
        """Stop every container; a grace period that shrinks meanwhile counts. Raises the first error of the runtime."""
        running = self._running()
        grace = self._grace(override)
        order = StopOrder(self._record.pod["spec"], [s.name for s in running])
        services = [
            self._group.start(f"stop {status.name}", self._stop(status, grace, order)) for status in running
        ]
        while any(not service.done.is_set() for service in services):
            self._changed.clear()
            await self._any_news(services)
            if self._grace(override) < grace:
                grace = self._grace(override)
                services += [self._group.start("hurry", self._hurry(s, grace)) for s in self._running()]
        if self._errors:
            raise self._errors[0]
        await self._settle()

    def _grace(self, override: float | None) -> float:
        return float(grace_period(self._record.pod)) if override is None else override

    def _running(self) -> list[ContainerStatus]:
        return [s for s in self._record.all() if s.state == ContainerState.RUNNING]

    async def _any_news(self, services: list[Service]) -> None:
        waits = [asyncio.ensure_future(self._changed.wait())]
        waits += [asyncio.ensure_future(s.done.wait()) for s in services if not s.done.is_set()]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _stop(self, status: ContainerStatus, grace: float, order: StopOrder) -> None:
        container = find_container(self._record.pod["spec"], status.name) or {"name": status.name}
        try:
            await stop_container(
                self._parts,
                self._record,
                container,
                status.id,
                grace=grace,
                turn=lambda: order.turn(status.name),
            )
        except PodbayError as error:
            self._errors.append(error)
        finally:
            order.ended(status.name)

    async def _hurry(self, status: ContainerStatus, grace: float) -> None:
        try:
            await self._parts.runtime.stop_container(status.id, max(MINIMUM_SECONDS, grace))
        except PodbayError as error:
            self._errors.append(error)

    async def _settle(self) -> None:
        """Wait until the record knows how everything ended."""
        while self._running():
            self._changed.clear()
            try:
                async with asyncio.timeout(_SETTLE_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                state = await self._parts.runtime.list()
                known = {s.id for s in self._record.all()}
                for status in state.containers:
                    if status.id in known:
                        self._record.note(status)
                present = {s.id for s in state.containers}
                if all(s.id not in present for s in self._running()):
                    return

    async def slim(self) -> None:
        """Free what only a running pod needs: network, mounts, volumes. Status and logs stay."""
        record, runtime = self._record, self._parts.runtime
        if record.sandbox is not None:
            await self._parts.gate.close(record.sandbox.id)
            self._parts.host_ports.close(uid_of(record.pod))
            # One that never made a container has nothing to keep, and is freed with the pod.
            if isinstance(runtime, SandboxStopper) and all(s.state in _OVER for s in record.all()):
                await runtime.stop_sandbox(record.sandbox.id)
        await self._parts.volumes.remove(runtime_volumes(record.pod))

    async def clean_up(self, old_sandboxes: list[str]) -> None:
        """Remove sandbox, containers and volumes. May be repeated."""
        record, parts = self._record, self._parts
        for sandbox in [*old_sandboxes, *([record.sandbox.id] if record.sandbox is not None else [])]:
            await parts.gate.close(sandbox)
            parts.host_ports.close(uid_of(record.pod))
            await parts.runtime.remove_sandbox(sandbox)
        await parts.volumes.remove(runtime_volumes(record.pod))
        parts.tokens.forget(record.pod)
        parts.puller.forget(record.pod)
        for status in record.all():
            parts.backoff.forget(f"{uid_of(record.pod)}/{status.name}")

    async def release(self) -> None:
        """Tell the API that the pod has ended, so that its object may go."""
        record = self._record
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid_of(record.pod)}}
        try:
            await self._parts.api.delete(
                PODS, name_of(record.pod), namespace=namespace_of(record.pod), options=options
            )
        except ApiError as error:
            if error.code not in (404, 409):
                raise
