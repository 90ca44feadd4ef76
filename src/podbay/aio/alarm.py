"""One timer over an injected clock that can be set earlier at any time.

Queues with deadlines (work queue, scripted pods) keep their own heap and one Alarm for its top, so that there is
never more than one sleeping asyncio task per queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from podbay.aio.clock import Clock

__all__ = ["Alarm"]


class Alarm:
    """Calls `ring` (synchronously, on the event loop) once the clock passes the earliest deadline set.

    After ringing it is unset; `ring` may set it again. Needs a running event loop from the first `set` on.
    """

    def __init__(self, clock: Clock, ring: Callable[[], None], *, name: str = "alarm") -> None:
        self._clock = clock
        self._ring = ring
        self._name = name
        self._deadline: float | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def deadline(self) -> float | None:
        """When it will ring, in the clock's monotonic seconds."""
        return self._deadline

    def set(self, deadline: float) -> None:
        """Ring at deadline, unless it rings earlier already."""
        if self._deadline is not None and self._deadline <= deadline:
            return
        self._deadline = deadline
        if self._task is not None:
            self._task.cancel()
        self._task = asyncio.get_running_loop().create_task(self._sleep(deadline), name=self._name)

    async def _sleep(self, deadline: float) -> None:
        while (left := deadline - self._clock.monotonic()) > 0:
            await self._clock.sleep(left)
        self._deadline = None
        # The task forgets itself first: `ring` may set the alarm again, which must not cancel the running caller.
        self._task = None
        self._ring()

    async def aclose(self) -> None:
        """Unset it and wait until its task is gone."""
        task, self._task, self._deadline = self._task, None, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
