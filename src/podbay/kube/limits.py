"""How fast one process may ask one cluster: a window of requests under way that shrinks when the cluster is busy.

One gate for all pods of a process, first come first served, so a busy cluster slows everybody alike and nobody is
starved by others' retries. The rules are TCP's: halve on trouble, grow by one a window of successes; Retry-After is
obeyed by all, not only by the request that was told.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from podbay.aio.backoff import Backoff
from podbay.aio.clock import Clock

__all__ = ["MOST_RETRY_AFTER", "Gate", "Throttle"]

WINDOW = 32
"""Requests under way at once. API Priority and Fairness gives one user's flow a handful of seats; 32 keeps them busy."""
MOST_RETRY_AFTER = 60.0
"""Seconds. Clusters ask for one or a few; an hour is said by a load balancer's page, and nobody may wait for that."""
_PAUSES = Backoff(initial=0.25, maximum=30.0)


class Throttle:
    """Pure: told of successes and overload, says how many requests may be under way and not before when."""

    def __init__(self, *, window: int = WINDOW) -> None:
        self._most = float(window)
        self._window = float(window)
        self._overloads = 0
        self.paused_until = 0.0

    @property
    def window(self) -> int:
        return max(1, int(self._window))

    def succeeded(self) -> None:
        """The cluster answered and did not complain."""
        self._overloads = 0
        self._window = min(self._most, self._window + 1.0 / self._window)

    def overloaded(self, now: float, *, retry_after: float | None, jitter: float) -> float:
        """The cluster said 429 or 503: pause everybody; gives the seconds. jitter is a number from 0 to 1."""
        if now >= self.paused_until:
            # Answers to requests that were under way when the pause began are one complaint, not many.
            self._window = max(1.0, self._window / 2)
            self._overloads += 1
        pause = min(retry_after, MOST_RETRY_AFTER) if retry_after else _PAUSES.delay(self._overloads - 1)
        pause *= 1.0 + 0.25 * jitter
        self.paused_until = max(self.paused_until, now + pause)
        return self.paused_until - now


class Gate:
    """Lets requests pass as the Throttle says, in the order they came."""

    def __init__(self, clock: Clock, rng: random.Random, *, window: int = WINDOW) -> None:
        self.throttle = Throttle(window=window)
        self._clock = clock
        self._rng = rng
        self._under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold a place for one request; waits for its turn and for the end of a pause."""
        await self._enter()
        try:
            await self.wait_out_pause()
            yield
        finally:
            self._under_way -= 1
            self._admit()

    async def _enter(self) -> None:
        if not self._waiting and self._under_way < self.throttle.window:
            self._under_way += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                # Admitted and cancelled in the same turn of the loop.
                self._under_way -= 1
                self._admit()
            raise

    async def wait_out_pause(self) -> None:
        """Return when nobody must pause; for streams, which hold no place."""
        while (left := self.throttle.paused_until - self._clock.monotonic()) > 0:
            await self._clock.sleep(left)

    def _admit(self) -> None:
        while self._waiting and self._under_way < self.throttle.window:
            place = self._waiting.popleft()
            if not place.done():
                self._under_way += 1
                place.set_result(None)

    def succeeded(self) -> None:
        self.throttle.succeeded()
        self._admit()

    def overloaded(self, retry_after: float | None) -> None:
        """Pause everybody."""
        self.throttle.overloaded(self._clock.monotonic(), retry_after=retry_after, jitter=self._rng.random())
