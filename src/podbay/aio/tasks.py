"""Supervised, named asyncio tasks: the only place (with `alarm`) that starts background tasks.

Unlike asyncio.TaskGroup, leaving the block ends the tasks instead of waiting for them, because what runs here are
services that never end by themselves. A failing task ends the block and its error comes out of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

from podbay.errors import ClosedError

__all__ = ["Service", "TaskGroup"]


class Service:
    """One supervised task: `ready` is set by the service itself, `done` and `error` by its end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready = asyncio.Event()
        self.done = asyncio.Event()
        self.error: BaseException | None = None
        self._task: asyncio.Task[None] | None = None

    async def wait_ready(self) -> None:
        """Return once ready; raise the service's error, or ClosedError, when it ends before."""
        if self.ready.is_set():
            return
        waits = [asyncio.ensure_future(e.wait()) for e in (self.ready, self.done)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        if not self.ready.is_set():
            raise self.error or ClosedError(f"{self.name} ended before it was ready")

    async def aclose(self) -> None:
        """Cancel the task and wait for its end. May be called again, and after the end."""
        if self._task is not None:
            self._task.cancel()
            await self.done.wait()


class TaskGroup:
    """Owns the services started in it; see the module docstring. Entered once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._group: asyncio.TaskGroup | None = None
        self._closing = False
        self._services: dict[Service, asyncio.Task[None]] = {}

    @property
    def services(self) -> list[Service]:
        """Those still running, in the order they were started."""
        return list(self._services)

    def start(
        self, name: str, coroutine: Coroutine[Any, Any, None], *, service: Service | None = None
    ) -> Service:
        """Run the coroutine until the group is left. Pass the Service when the coroutine sets its `ready`."""
        if self._group is None or self._closing:
            coroutine.close()
            raise ClosedError(f"{self.name}: {name} was started outside the group's `async with` block")
        service = service or Service(name)
        task = self._group.create_task(self._run(service, coroutine), name=f"{self.name}/{name}")
        service._task = task
        self._services[service] = task
        # A task cancelled before its first step never enters _run's `finally`.
        task.add_done_callback(lambda _: self._ended(service, coroutine))
        return service

    def _ended(self, service: Service, coroutine: Coroutine[Any, Any, None]) -> None:
        coroutine.close()
        self._services.pop(service, None)
        service.done.set()

    async def _run(self, service: Service, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            await coroutine
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):
                service.error = error
            raise

    async def __aenter__(self) -> Self:
        if self._group is not None:
            raise ClosedError(f"{self.name}: a task group is entered once")
        self._group = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._group is not None
        self._closing = True
        for task in reversed(list(self._services.values())):
            task.cancel()
        try:
            await self._group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            if len(group.exceptions) == 1:
                raise group.exceptions[0] from None
            raise
