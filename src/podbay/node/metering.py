"""What the node and its containers use: measured when somebody asks, never by a clock tick.

CPU is the difference of two looks at counters. After a pause the first answer takes a second, for the second look;
while people keep asking, the looks are those of their questions. Source: metrics-server's pkg/storage.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from podbay.aio.clock import Clock
from podbay.apiserver.streams import NodeUsage, Use
from podbay.node.observed import ContainerState, ContainerStatus
from podbay.node.runtime import Runtime

__all__ = ["Meter", "Owner", "machine_totals"]

_FRESH_SECONDS = 5.0
"""An answer is given again for so long."""
_STALE_SECONDS = 60.0
"""An older look is no start for a window: it would tell of the past."""
_FIRST_WINDOW_SECONDS = 1.0
_NANOS = 10**9
_PROC = Path("/proc")


class Owner(NamedTuple):
    """Whose container it is."""

    pod_uid: str
    status: ContainerStatus


@dataclass(frozen=True, slots=True)
class _Look:
    """Counters at one moment. cpu is nanoseconds since each container's start, by container id."""

    at: float
    wall: datetime
    cpu: Mapping[str, int]
    memory: Mapping[str, int]
    machine: Use | None
    """CPU nanoseconds since boot, memory in use now; None where the machine is not this one."""


class Meter:
    """Measures one node. owners gives the containers that its pods have now."""

    def __init__(
        self,
        runtime: Runtime,
        clock: Clock,
        owners: Callable[[], Iterable[Owner]],
        machine: Callable[[], Use | None],
    ) -> None:
        self._runtime, self._clock = runtime, clock
        self._owners, self._machine = owners, machine
        self._last: _Look | None = None
        self._answer: NodeUsage | None = None
        self._busy = asyncio.Lock()

    async def usage(self) -> NodeUsage:
        """See streams.UsageMeter. RuntimeUnavailableError when the runtime does not answer."""
        async with self._busy:
            now = self._clock.monotonic()
            age = now - self._last.at if self._last is not None else _STALE_SECONDS
            if self._answer is not None and age < _FRESH_SECONDS:
                return self._answer
            if self._last is None or age >= _STALE_SECONDS:
                self._last = await self._look()
                await self._clock.sleep(_FIRST_WINDOW_SECONDS)
            before, self._last = self._last, await self._look()
            self._answer = _difference(before, self._last, list(self._owners()))
            return self._answer

    async def _look(self) -> _Look:
        used = await self._runtime.usage()
        return _Look(
            self._clock.monotonic(),
            self._clock.now(),
            {u.container_id: u.cpu_ns for u in used if u.cpu_ns is not None},
            {
                u.container_id: u.memory_working_set_bytes
                for u in used
                if u.memory_working_set_bytes is not None
            },
            self._machine(),
        )


def _difference(before: _Look, after: _Look, owners: Iterable[Owner]) -> NodeUsage:
    window = max(after.at - before.at, 0.001)
    pods: dict[str, dict[str, Use]] = {}
    for pod_uid, status in owners:
        if status.state is not ContainerState.RUNNING or status.id not in after.cpu:
            continue
        # What started meanwhile had used nothing at its start, which is nearer.
        started = after.wall.timestamp() - status.started_ns / _NANOS
        span = window if status.id in before.cpu else min(window, max(started, 0.001))
        cpu = max(0, after.cpu[status.id] - before.cpu.get(status.id, 0))
        use = Use(round(cpu / span), after.memory.get(status.id, 0))
        pods.setdefault(pod_uid, {})[status.name] = use
    return NodeUsage(
        timestamp=after.wall, window=window, node=_node_use(before, after, window, pods), pods=pods
    )


def _node_use(before: _Look, after: _Look, window: float, pods: Mapping[str, Mapping[str, Use]]) -> Use:
    if before.machine is not None and after.machine is not None:
        cpu = max(0, after.machine.cpu_nanos - before.machine.cpu_nanos)
        return Use(round(cpu / window), after.machine.memory_bytes)
    every = [use for containers in pods.values() for use in containers.values()]
    return Use(sum(u.cpu_nanos for u in every), sum(u.memory_bytes for u in every))


def machine_totals(proc: Path = _PROC) -> Use | None:
    """CPU time that this machine has spent since boot, and memory in use; None where there is no /proc."""
    ticks_per_second = os.sysconf("SC_CLK_TCK")
    try:
        cpu = (proc / "stat").read_text().partition("\n")[0].split()
        memory = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines())
        # user nice system idle iowait irq softirq; guest time is within user and nice.
        user, nice, system, _, _, *interrupts = (int(word) for word in cpu[1:8])
        busy = user + nice + system + sum(interrupts)
        used = _kibibytes(memory["MemTotal"]) - _kibibytes(memory["MemAvailable"])
    except (OSError, ValueError, KeyError):
        return None
    return Use(busy * _NANOS // ticks_per_second, used * 1024)


def _kibibytes(text: str) -> int:
    return int(text.split()[0])
