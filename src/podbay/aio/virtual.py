"""A clock that moves only when told to, so that tests assert exact durations and wait for nothing.

For tests, ours and users' (scripted nodes under a virtual clock); nothing in production uses it.
"""

from __future__ import annotations

import asyncio
import heapq
from datetime import UTC, datetime, timedelta

__all__ = ["VirtualClock"]

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualClock:
    """Implements `Clock`. `advance` wakes sleepers in the order of their deadlines."""

    def __init__(self, start: datetime = _EPOCH, *, settle_rounds: int = 50) -> None:
        self._start = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._sequence = 0
        self._settle_rounds = settle_rounds

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sequence += 1
        heapq.heappush(self._sleepers, (self._elapsed + seconds, self._sequence, future))
        await future

    async def settle(self) -> None:
        """Let every task run until it waits for something that is not the event loop's next turn."""
        for _ in range(self._settle_rounds):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        """Move the time on, stopping at every deadline on the way."""
        target = self._elapsed + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= target + 1e-9:
            deadline, _, future = heapq.heappop(self._sleepers)
            if future.done():
                continue
            # Float sums may land a hair past the target; time never runs backwards.
            self._elapsed = max(self._elapsed, deadline)
            future.set_result(None)
            await self.settle()
        self._elapsed = max(self._elapsed, target)
        await self.settle()
