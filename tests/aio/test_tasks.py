from __future__ import annotations

import asyncio

import pytest

from podbay.aio.tasks import Service, TaskGroup
from podbay.errors import ClosedError, StateError


async def forever() -> None:
    await asyncio.Event().wait()


async def fail(message: str) -> None:
    raise StateError(message)


async def test_leaving_the_block_ends_the_services() -> None:
    async with TaskGroup("g") as group:
        service = group.start("a", forever())
        await asyncio.sleep(0)
        assert [s.name for s in group.services] == ["a"]
    assert service.done.is_set()
    assert service.error is None
    assert group.services == []


async def test_a_service_that_never_took_a_step_is_done_too() -> None:
    async with TaskGroup("g") as group:
        service = group.start("a", forever())
    assert service.done.is_set()


async def test_a_failing_service_ends_the_block_with_its_error() -> None:
    with pytest.raises(StateError, match="disk"):
        async with TaskGroup("g") as group:
            group.start("bystander", forever())
            group.start("a", fail("disk"))
            await forever()


async def test_ready_is_the_services_own_word() -> None:
    async def run(service: Service) -> None:
        await asyncio.sleep(0)
        service.ready.set()
        await forever()

    async with TaskGroup("g") as group:
        service = Service("a")
        group.start("a", run(service), service=service)
        await service.wait_ready()
        assert not service.done.is_set()


async def test_waiting_for_a_service_that_ended_raises() -> None:
    async def nothing() -> None:
        return

    async with TaskGroup("g") as group:
        with pytest.raises(ClosedError, match="ended before it was ready"):
            await group.start("a", nothing()).wait_ready()


async def test_a_closed_service_leaves_the_others_alone() -> None:
    async with TaskGroup("g") as group:
        first = group.start("a", forever())
        second = group.start("b", forever())
        await asyncio.sleep(0)
        await first.aclose()
        await first.aclose()
        assert first.done.is_set()
        assert not second.done.is_set()


async def test_nothing_starts_outside_the_block() -> None:
    group = TaskGroup("g")
    with pytest.raises(ClosedError):
        group.start("a", forever())
    async with group:
        pass
    with pytest.raises(ClosedError):
        group.start("a", forever())
    with pytest.raises(ClosedError):
        await group.__aenter__()


async def test_two_failures_come_out_together() -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        async with TaskGroup("g") as group:
            group.start("a", fail("one"))
            group.start("b", fail("two"))
            await forever()
    assert {str(e) for e in caught.value.exceptions} == {"one", "two"}
