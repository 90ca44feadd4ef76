"""A step is finished whatever happens to its caller."""

from __future__ import annotations

import asyncio

import pytest

from podbay.aio.finishing import finish


async def test_the_result_comes_back() -> None:
    async def step() -> int:
        await asyncio.sleep(0)
        return 7

    assert await finish(step()) == 7


async def test_an_error_comes_back() -> None:
    async def step() -> None:
        await asyncio.sleep(0)
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await finish(step())


@pytest.mark.parametrize("cancels", [1, 2])
@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancelled_caller_waits_for_the_end(cancels: int, fails: bool) -> None:
    noted: list[str] = []
    go = asyncio.Event()

    async def step() -> None:
        await go.wait()
        noted.append("done")
        if fails:
            raise LookupError("too late")

    caller = asyncio.ensure_future(finish(step()))
    await asyncio.sleep(0)
    for _ in range(cancels):
        caller.cancel()
        await asyncio.sleep(0)
    assert not caller.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert noted == ["done"]
