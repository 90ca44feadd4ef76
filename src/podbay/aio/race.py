"""Companions of one request: run some coroutines until the first ends, and close things whatever happens.

A handler is cancelled when its client goes, possibly once more while it is cleaning up after the first time. What is
here ends what was started all the same. Services that live on belong into `aio.tasks`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

__all__ = ["cancel_all", "closing", "race", "to_the_end"]

T = TypeVar("T")


class _Closable(Protocol):
    async def aclose(self) -> None: ...


C = TypeVar("C", bound=_Closable)


async def race(*contenders: Coroutine[Any, Any, T]) -> T:
    """The result (or error) of the first to end; the earlier argument wins when two end at once.

    All others have been cancelled and have ended when this returns or is cancelled itself.
    """
    tasks = [asyncio.ensure_future(contender) for contender in contenders]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        winner = next(task for task in tasks if task.done())
    finally:
        await cancel_all(tasks)
    return winner.result()


async def cancel_all(futures: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel what has not ended and wait for the end of all. Their errors are dropped."""
    waiting = list(futures)
    for future in waiting:
        future.cancel()
    if waiting:
        await to_the_end(_settle(waiting))


async def _settle(futures: list[asyncio.Future[Any]]) -> None:
    await asyncio.wait(futures)
    for future in futures:
        if not future.cancelled():
            # Looked at, so that asyncio does not report it as forgotten.
            future.exception()


async def to_the_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it to its end even when the caller is cancelled meanwhile; the cancellation is raised afterwards."""
    task = asyncio.ensure_future(coroutine)
    interrupted: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as err:
            interrupted = err
        except Exception:  # noqa: BLE001 - raised below, out of the task
            break
    if interrupted is not None and not task.cancelled():
        task.exception()
        raise interrupted
    return task.result()


@asynccontextmanager
async def closing(thing: C) -> AsyncIterator[C]:
    """As contextlib.aclosing, but no cancellation interrupts the closing."""
    try:
        yield thing
    finally:
        await to_the_end(thing.aclose())
