"""Logs through the whole engine: streams cut at every byte, one after the other, and engines that are lost meanwhile."""

from __future__ import annotations

import asyncio
import random

import pytest
from engine_parts import Cluster, Engine, engine, name_of, task

from podbay.lifecycle.checkpoint import Checkpoint
from podbay.testing import Environment

TEXT = ["one", "twö", "", "four \x07"]
BODY = sum(len(f"2026-01-01T00:00:00.000000000Z {line}\n".encode()) for line in TEXT)


@pytest.mark.parametrize("times", [1, 3])
async def test_a_stream_cut_at_every_byte(started: Engine, cluster: Cluster, times: int) -> None:
    plans = [task(cluster.namespace, run=0.5, log="\n".join(TEXT)) for _ in range(BODY + 1)]
    for cut, plan in enumerate(plans):
        match = {"subresource": "log", "name": name_of(plan.build(0))}
        await cluster.fault(do="cut", bytes=cut, count=times, match=match)
    results = await asyncio.gather(*(started.run(plan) for plan in plans))
    for cut, (outcome, notes) in enumerate(results):
        assert outcome.ok, outcome.message
        assert (cut, notes.log, notes.notices) == (cut, TEXT, [])


async def test_every_container_is_told_exactly_once(started: Engine, cluster: Cluster) -> None:
    inits = [{"name": name, "image": "busybox"} for name in ("first", "second")]
    script = {f"log.{name}": f"{name} 1\n{name} 2" for name in ("first", "second")}
    script |= {f"run-seconds.{name}": "0.2" for name in ("first", "second")}
    await cluster.fault(do="cut", bytes=50, count=4, match={"subresource": "log"})
    plan = task(cluster.namespace, run=0.3, log="one\ntwo", script=script, pod={"init_containers": inits})
    outcome, notes = await started.run(plan)
    assert outcome.ok
    assert notes.lines_ == {
        "first": ["first 1", "first 2"],
        "second": ["second 1", "second 2"],
        "base": ["one", "two"],
    }


async def test_a_large_log_arrives_whole(started: Engine, cluster: Cluster) -> None:
    lines = [f"{number} " + "x" * (number % 400) for number in range(1000)]
    await cluster.fault(do="cut", bytes=30_000, count=5, match={"subresource": "log"})
    outcome, notes = await started.run(task(cluster.namespace, run=1, log="\n".join(lines)))
    assert outcome.ok
    assert notes.log == lines


@pytest.mark.parametrize("seed", range(3))
async def test_engines_that_are_lost_at_any_moment(
    scripted: Environment, cluster: Cluster, seed: int
) -> None:
    """Twenty tasks, each of whose engines is lost three times: with checkpoints every line is told once."""
    rng = random.Random(seed)
    lines = [f"line {number}" for number in range(30)]

    async def live(process: Engine) -> list[str]:
        plan = task(cluster.namespace, run=rng.uniform(0.3, 1.5), log="\n".join(lines))
        checkpoint: Checkpoint | None = None
        told: list[str] = []
        for _ in range(3):
            life = process.start(plan, checkpoint=checkpoint)
            await asyncio.wait({life.task}, timeout=rng.uniform(0.0, 0.6))
            if life.task.done():
                return told + life.notes.log
            checkpoint = await life.crash()
            told += life.notes.log
        outcome, notes = await process.run(plan, checkpoint=checkpoint)
        assert outcome.ok, outcome.message
        return told + notes.log

    await cluster.fault(do="cut", bytes=400, count=30, match={"subresource": "log"})
    async with engine(scripted.kubeconfig) as process:
        for told in await asyncio.gather(*(live(process) for _ in range(20))):
            assert told == lines


async def test_a_log_that_cannot_be_read_for_a_while_is_waited_for(started: Engine, cluster: Cluster) -> None:
    await cluster.fault(do="refuse", status=500, match={"subresource": "log"})
    life = started.start(task(cluster.namespace, log="one"))
    await life.until("result")
    await asyncio.sleep(1.0)
    assert not life.task.done()
    await cluster.lift_faults()
    outcome = await life.outcome()
    assert (outcome.kind, life.notes.log) == ("succeeded", ["one"])
