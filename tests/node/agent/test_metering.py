"""How looks at counters become use: windows, restarts, machines that are elsewhere."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from podbay.aio.virtual import VirtualClock
from podbay.apiserver.streams import NodeUsage, Use
from podbay.node.metering import Meter, Owner, machine_totals
from podbay.node.observed import ContainerState, ContainerStatus, Usage
from podbay.node.runtime import Runtime

SECOND = 10**9


class Counters:
    """The one call of a runtime that a meter makes; CPU grows with the clock."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.looks = 0
        self.cores: dict[str, float] = {}
        self.since: dict[str, float] = {}

    async def usage(self, *, disk: bool = False) -> Sequence[Usage]:
        self.looks += 1
        now = self.clock.monotonic()
        return [
            Usage(
                container_id=name,
                cpu_ns=round((now - self.since.get(name, 0.0)) * cores * SECOND),
                memory_bytes=2000,
                memory_working_set_bytes=1000,
                pids=1,
            )
            for name, cores in self.cores.items()
        ]


def running(name: str, started: float = 0.0) -> ContainerStatus:
    return ContainerStatus(
        id=name,
        sandbox_id="s",
        name=name,
        attempt=0,
        image="i",
        image_id="i",
        state=ContainerState.RUNNING,
        created_ns=0,
        started_ns=round(started * SECOND),
    )


def meter(counters: Counters, owners: list[Owner], machine: Use | None = None) -> Meter:
    runtime: Runtime = counters  # type: ignore[assignment]
    return Meter(runtime, counters.clock, lambda: owners, lambda: machine)


async def ask(measured: Meter, clock: VirtualClock, seconds: float) -> NodeUsage:
    """The answer, which must be there after exactly that time."""
    asked = asyncio.create_task(measured.usage())
    if seconds:
        await clock.advance(seconds - 0.001)
        assert not asked.done()
        await clock.advance(0.001)
    await clock.settle()
    assert asked.done()
    return asked.result()


async def test_first_answer_takes_a_second_and_is_given_again_for_a_moment() -> None:
    clock = VirtualClock()
    counters = Counters(clock)
    counters.cores = {"busy": 0.5, "idle": 0.0}
    measured = meter(counters, [Owner("uid", running("busy")), Owner("uid", running("idle"))])
    answer = await ask(measured, clock, 1.0)
    assert answer.window == pytest.approx(1.0)
    assert answer.pods == {"uid": {"busy": Use(SECOND // 2, 1000), "idle": Use(0, 1000)}}
    # Nothing is known of the machine: the node uses what its containers use.
    assert answer.node == Use(SECOND // 2, 2000)
    assert await ask(measured, clock, 0) is answer
    assert counters.looks == 2


async def test_windows_reach_from_question_to_question_until_they_are_stale() -> None:
    clock = VirtualClock()
    counters = Counters(clock)
    measured = meter(counters, [])
    await ask(measured, clock, 1.0)
    await clock.advance(20.0)
    assert (await ask(measured, clock, 0)).window == pytest.approx(20.0)
    await clock.advance(120.0)
    assert (await ask(measured, clock, 1.0)).window == pytest.approx(1.0)


async def test_a_container_that_started_within_the_window_counts_from_its_start() -> None:
    clock = VirtualClock()
    counters = Counters(clock)
    owners: list[Owner] = []
    measured = meter(counters, owners)
    await ask(measured, clock, 1.0)
    await clock.advance(15.0)
    counters.cores, counters.since = {"new": 2.0}, {"new": clock.monotonic()}
    owners.append(Owner("uid", running("new", clock.now().timestamp())))
    await clock.advance(5.0)
    answer = await ask(measured, clock, 0)
    assert answer.window == pytest.approx(20.0)
    assert answer.pods["uid"]["new"].cpu_nanos == pytest.approx(2 * SECOND)


async def test_what_has_ended_or_was_not_measured_is_left_out() -> None:
    clock = VirtualClock()
    counters = Counters(clock)
    counters.cores = {"ended": 1.0, "strange": 1.0}
    ended = replace(running("ended"), state=ContainerState.EXITED)
    measured = meter(counters, [Owner("a", ended), Owner("b", running("unseen"))])
    assert (await ask(measured, clock, 1.0)).pods == {}


def test_totals_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  100 20 30 9999 888 7 3 40 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
    (tmp_path / "meminfo").write_text("MemTotal:  1000 kB\nMemFree:  10 kB\nMemAvailable:  400 kB\n")
    ticks = os.sysconf("SC_CLK_TCK")
    assert machine_totals(tmp_path) == Use(160 * SECOND // ticks, 600 * 1024)
    assert machine_totals(tmp_path / "gone") is None


async def test_the_machine_s_use_is_the_node_s() -> None:
    clock = VirtualClock()
    measured = meter(Counters(clock), [], machine=Use(5 * SECOND, 4096))
    assert (await ask(measured, clock, 1.0)).node == Use(0, 4096)
