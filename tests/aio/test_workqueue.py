from __future__ import annotations

import asyncio

import pytest
from patience import PATIENCE

from podbay.aio.backoff import Backoff
from podbay.aio.virtual import VirtualClock
from podbay.aio.workqueue import WorkQueue
from podbay.errors import ClosedError


async def test_a_waiting_key_is_there_once() -> None:
    queue: WorkQueue[str] = WorkQueue(VirtualClock())
    for key in ("a", "b", "a"):
        queue.add(key)
    assert len(queue) == 2
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    await queue.aclose()


async def test_a_key_added_during_its_work_comes_back_once_after_done() -> None:
    queue: WorkQueue[str] = WorkQueue(VirtualClock())
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert len(queue) == 1
    assert await queue.get() == "a"
    queue.done("a")
    assert queue.idle


async def test_the_earlier_of_two_delays_counts() -> None:
    clock = VirtualClock()
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add_after("a", 10)
    queue.add_after("a", 3)
    queue.add_after("b", 5)
    await clock.advance(2.9)
    assert len(queue) == 0
    await clock.advance(0.1)
    assert await queue.get() == "a"
    queue.done("a")
    await clock.advance(2)
    assert await queue.get() == "b"
    queue.done("b")
    await clock.advance(10)
    assert len(queue) == 0
    assert queue.idle
    await queue.aclose()


async def test_back_off_grows_per_key_until_forgotten() -> None:
    clock = VirtualClock()
    queue: WorkQueue[str] = WorkQueue(clock, backoff=Backoff(initial=1, maximum=3))
    times = []
    for _ in range(4):
        queue.add_rate_limited("a")
        before = clock.monotonic()
        while not len(queue):
            await clock.advance(0.5)
        times.append(clock.monotonic() - before)
        queue.done(await queue.get())
    assert times == [1, 2, 3, 3]
    assert queue.failures("a") == 4
    queue.forget("a")
    assert queue.failures("a") == 0
    await queue.aclose()


async def test_waiting_workers_share_the_keys() -> None:
    queue: WorkQueue[int] = WorkQueue(VirtualClock())
    got: list[int] = []

    async def work() -> None:
        while True:
            key = await queue.get()
            got.append(key)
            await asyncio.sleep(0)
            queue.done(key)

    workers = [asyncio.ensure_future(work()) for _ in range(3)]
    await asyncio.sleep(0)
    for key in range(10):
        queue.add(key)
    for _ in range(20):
        await asyncio.sleep(0)
    assert sorted(got) == list(range(10))
    await queue.aclose()
    results = await asyncio.gather(*workers, return_exceptions=True)
    assert all(isinstance(r, ClosedError) for r in results)


async def test_a_cancelled_worker_passes_its_wake_up_on() -> None:
    queue: WorkQueue[str] = WorkQueue(VirtualClock())
    first = asyncio.ensure_future(queue.get())
    second = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await asyncio.wait_for(second, PATIENCE) == "a"
    with pytest.raises(asyncio.CancelledError):
        await first


def test_backoff_is_capped_and_never_overflows() -> None:
    backoff = Backoff(initial=0.005, maximum=1000)
    assert backoff.delay(0) == 0.005
    assert backoff.delay(3) == 0.04
    assert backoff.delay(100_000) == 1000
