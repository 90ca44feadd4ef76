"""Who may follow a log right now: HTTP/1.1 needs a connection for each, and open files have a limit.

As long as there are slots, a follower keeps its own for the life of its container: one request. When there are fewer
slots than followers they take turns, the longest holder first; positions make that harmless (log_lines.py), it costs
requests and delay. Connections are opened one after another, not a thousand at once.
"""

from __future__ import annotations

import asyncio
import math
import resource
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from podbay.aio.clock import Clock

__all__ = ["LogSlots", "Slot"]

HOLD_SECONDS = 2.0
"""How long a holder is left alone when others wait."""
OPEN_INTERVAL = 0.005
"""Seconds between two openings: 200 TLS handshakes a second are a quarter of a core on either side."""
MOST_STREAMS = 4000


class Slot:
    """The right to one stream. Work inside `revocable`; it ends with TimeoutError when the slot is revoked."""

    def __init__(self) -> None:
        self.since = math.inf
        """When its holder was let open its stream; who still queues for that is nobody to take a slot from."""
        self.revoked = False
        self._limit: asyncio.Timeout | None = None

    @asynccontextmanager
    async def revocable(self) -> AsyncIterator[None]:
        async with asyncio.timeout(None) as limit:
            self._limit = limit
            if self.revoked:
                limit.reschedule(asyncio.get_running_loop().time())
            try:
                yield
            finally:
                self._limit = None

    def revoke(self, *, after: float = 0.0) -> None:
        """Make the holder let go, wherever it waits then; the earliest of several calls counts."""
        # A deadline cancels the holder and nobody else, and needs no task to watch for it.
        deadline = asyncio.get_running_loop().time() + after
        if self._limit is None:
            self.revoked = True
            return
        self.revoked = self.revoked or after == 0.0
        standing = self._limit.when()
        if standing is None or deadline < standing:
            self._limit.reschedule(deadline)


class LogSlots:
    """See the module docstring. streams None takes half of what the limit on open files allows."""

    def __init__(self, clock: Clock, *, streams: int | None = None) -> None:
        self._clock = clock
        self._streams = streams if streams is not None else _affordable_streams()
        self._holders: dict[Slot, None] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._next_opening = 0.0

    @property
    def in_use(self) -> int:
        return len(self._holders)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[Slot]:
        """Wait for a slot and hold it."""
        slot = await self._acquire()
        try:
            await self._space_out()
            slot.since = self._clock.monotonic()
            yield slot
        finally:
            del self._holders[slot]
            self._admit()

    def reconnect_all(self) -> None:
        """Revoke every slot: the network has swallowed things, and silent streams may be dead."""
        for slot in list(self._holders):
            slot.revoke()

    async def _acquire(self) -> Slot:
        while len(self._holders) >= self._streams or (self._waiting and not self._waiting[0].done()):
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await self._wait(place)
            finally:
                if place in self._waiting:
                    self._waiting.remove(place)
            break
        slot = Slot()
        self._holders[slot] = None
        return slot

    async def _wait(self, place: asyncio.Future[None]) -> None:
        while not place.done():
            # They open in the order they came in, so nobody behind one that has not opened is older.
            oldest = next((s for s in self._holders if not s.revoked), None)
            left = HOLD_SECONDS
            if oldest is not None and oldest.since < math.inf:
                left = oldest.since + HOLD_SECONDS - self._clock.monotonic()
                if left <= 0:
                    oldest.revoke()
                    left = HOLD_SECONDS
            await asyncio.wait([place], timeout=left)

    def _admit(self) -> None:
        free = self._streams - len(self._holders)
        while free > 0 and self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                free -= 1

    async def _space_out(self) -> None:
        now = self._clock.monotonic()
        at = max(now, self._next_opening)
        self._next_opening = at + OPEN_INTERVAL
        if at > now:
            await self._clock.sleep(at - now)


def _affordable_streams() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_STREAMS
    return max(16, min(MOST_STREAMS, soft // 2))
