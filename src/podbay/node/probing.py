"""Probes of one pod's containers: one task per probe of a running container, results into the pod's record.

Source: pkg/kubelet/prober/worker.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from podbay.aio.tasks import Service, TaskGroup
from podbay.errors import PodbayError
from podbay.node.handlers import Target
from podbay.node.observed import ContainerState, ContainerStatus
from podbay.node.parts import NodeParts
from podbay.node.podspec import all_containers
from podbay.node.probes import PROBE_KINDS, Answer, ProbeKind, Tally, failure_text, probe_of
from podbay.node.record import PodRecord
from podbay.objects.meta import Object

__all__ = ["PodProbes"]


class PodProbes:
    """Starts and ends probe tasks as containers come and go. changed is called when a result does."""

    def __init__(
        self, parts: NodeParts, record: PodRecord, group: TaskGroup, changed: Callable[[], None]
    ) -> None:
        self._parts, self._record, self._group, self._changed = parts, record, group, changed
        self._running: dict[tuple[str, ProbeKind], Service] = {}

    async def follow(self) -> None:
        """Have a task for every probe of every container that runs, and for no other."""
        wanted: dict[tuple[str, ProbeKind], tuple[Object, ContainerStatus]] = {}
        for _, container in all_containers(self._record.pod["spec"]):
            status = self._record.latest(container["name"])
            if status is not None and status.state == ContainerState.RUNNING:
                for kind in PROBE_KINDS:
                    if probe_of(container, kind) is not None and self._is_its_turn(container, status, kind):
                        wanted[status.id, kind] = (container, status)
        for key in [key for key in self._running if key not in wanted]:
            await self._running.pop(key).aclose()
        for key, (container, status) in wanted.items():
            if key not in self._running:
                name = f"{key[1]} probe of {container['name']}"
                self._running[key] = self._group.start(name, self._probe(container, status, key[1]))

    def _is_its_turn(self, container: Object, status: ContainerStatus, kind: ProbeKind) -> bool:
        """The other probes wait until the startup probe has succeeded; it runs no more then."""
        if container.get("startupProbe") is None:
            return True
        started = self._record.startup.get(status.id)
        return started is None if kind == "startup" else started is True

    async def stop(self) -> None:
        """End all of them."""
        services = list(self._running.values())
        self._running.clear()
        await asyncio.gather(*(service.aclose() for service in services))

    async def _probe(self, container: Object, status: ContainerStatus, kind: ProbeKind) -> None:
        probe = probe_of(container, kind)
        assert probe is not None
        results: dict[str, bool] = getattr(self._record, kind)
        tally = Tally(probe, kind)
        clock = self._parts.clock
        period = float(probe.get("periodSeconds") or 10)
        age = clock.now().timestamp() - status.started_ns / 1e9
        await clock.sleep(float(probe.get("initialDelaySeconds") or 0) - age)
        while True:
            answer = await self._ask(container, status, probe)
            if answer is None:
                return
            self._report(container, kind, answer)
            if not answer.errored and tally.add(answer.healthy):
                results[status.id] = answer.healthy
                self._changed()
            if tally.result is not None and (kind == "startup" or (kind == "liveness" and not tally.result)):
                # A startup probe has done its work; a container that failed its liveness is about to end.
                return
            await clock.sleep(period)

    async def _ask(self, container: Object, status: ContainerStatus, probe: Object) -> Answer | None:
        sandbox = self._record.sandbox
        if sandbox is None:
            return None
        target = Target(self._record.pod, container, status.id, sandbox, self._parts.facts.ip)
        try:
            return await self._parts.handlers.probe(target, probe)
        except PodbayError as error:
            return Answer(False, str(error), errored=True)

    def _report(self, container: Object, kind: ProbeKind, answer: Answer) -> None:
        latest = self._record.latest(container["name"])
        if answer.healthy or latest is None or latest.state != ContainerState.RUNNING:
            return
        text = failure_text(kind, answer)
        self._parts.recorder.pod(self._record.pod, "Warning", "Unhealthy", text, container=container["name"])
