"""A component that many use and nobody owns: opened by the first, closed after the last.

It lives in an asyncio task of its own, because a task group must be left by the task that entered it and because it
must not inherit the first user's context variables (a logger bound to one Airflow task would get everybody's lines).
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Generic, TypeVar

from podbay.errors import ClosedError

__all__ = ["Shared"]

T = TypeVar("T")


class Shared(Generic[T]):
    """Counts its users. linger_seconds is how long it stays open without any, for the next one."""

    def __init__(
        self,
        name: str,
        open_: Callable[[], AbstractAsyncContextManager[T]],
        *,
        linger_seconds: float = 0.0,
        on_closed: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.users = 0
        self._open = open_
        self._linger = linger_seconds
        self._on_closed = on_closed
        self._life: _Life[T] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[T]:
        """Use it inside the block. Raises what opening it raised; the next lease tries again."""
        self.users += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            if self._life is None or self._life.over:
                self._life = _Life(self.name, self._open, self._ended)
            yield await self._life.value()
        finally:
            self.users -= 1
            if self.users == 0:
                await self._release()

    async def _release(self) -> None:
        life = self._life
        if life is None:
            return
        if self._linger > 0 and not life.over:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._linger, life.stop, context=contextvars.Context())
            return
        life.stop()
        await life.wait_over()

    async def aclose(self) -> None:
        """Close it now, whoever still uses it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._life is not None:
            self._life.stop()
            await self._life.wait_over()

    def _ended(self, life: _Life[T]) -> None:
        if self._life is life:
            self._life = None
            if self._on_closed is not None:
                self._on_closed()


class _Life(Generic[T]):
    """One opening: its task, and the value or the error of it."""

    def __init__(
        self,
        name: str,
        open_: Callable[[], AbstractAsyncContextManager[T]],
        ended: Callable[[_Life[T]], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self._name = name
        self._open = open_
        self._ended = ended
        self._opened: asyncio.Future[T] = loop.create_future()
        self._stop = asyncio.Event()
        self._over = asyncio.Event()
        self._task = loop.create_task(self._run(), name=name, context=contextvars.Context())
        self._task.add_done_callback(self._done)

    @property
    def over(self) -> bool:
        """It is closing or closed: no new user may have it."""
        return self._stop.is_set() or self._task.done()

    async def value(self) -> T:
        # Shielded: a user who gives up must not take the value away from the others.
        return await asyncio.shield(self._opened)

    def stop(self) -> None:
        self._stop.set()
        if not self._opened.done():
            self._task.cancel()

    async def wait_over(self) -> None:
        await self._over.wait()

    async def _run(self) -> None:
        try:
            async with self._open() as value:
                if not self._opened.done():
                    self._opened.set_result(value)
                await self._stop.wait()
        except Exception as err:
            if not self._opened.done():
                self._opened.set_exception(err)
                # Nobody may be waiting any more; that is no error of the event loop's.
                self._opened.exception()
            else:
                raise

    def _done(self, task: asyncio.Task[None]) -> None:
        if not self._opened.done():
            self._opened.set_exception(ClosedError(f"{self._name} was closed before it was open"))
            self._opened.exception()
        if not task.cancelled() and task.exception() is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"{self._name} failed", "exception": task.exception(), "task": task}
            )
        self._over.set()
        self._ended(self)
