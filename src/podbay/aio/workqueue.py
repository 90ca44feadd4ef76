"""Keyed work queue with client-go's rules.

A key that is waiting is there once however often it is added; a key that is being worked on and added meanwhile
comes back when its worker is done, so one key never has two workers. Delays and back-off are per key.
Source of the rules: client-go/util/workqueue (queue.go, delaying_queue.go, rate_limiting_queue.go).
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from podbay.aio.alarm import Alarm
from podbay.aio.backoff import Backoff
from podbay.aio.clock import Clock
from podbay.errors import ClosedError

__all__ = ["WorkQueue"]

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """See the module docstring. All methods but `get` and `aclose` return at once."""

    def __init__(self, clock: Clock, *, backoff: Backoff | None = None, name: str = "workqueue") -> None:
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._ready: deque[K] = deque()
        self._dirty: set[K] = set()
        self._processing: set[K] = set()
        self._delayed: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        self._sequence = 0
        self._failures: dict[K, int] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._alarm = Alarm(clock, self._move_due, name=f"{name}/delays")
        self._closed = False

    def __len__(self) -> int:
        """Keys ready to be worked on (neither delayed nor being worked on)."""
        return len(self._ready)

    @property
    def idle(self) -> bool:
        """Nothing ready, nothing delayed, nothing being worked on."""
        return not (self._ready or self._processing or self._due)

    def add(self, key: K) -> None:
        """Work on key soon."""
        if self._closed or key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._processing:
            self._push(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Add key after a while; the earlier of two delays for one key counts."""
        if self._closed:
            return
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock.monotonic() + seconds
        if self._due.get(key, due + 1) <= due:
            return
        self._due[key] = due
        self._sequence += 1
        heapq.heappush(self._delayed, (due, self._sequence, key))
        self._alarm.set(due)

    def add_rate_limited(self, key: K) -> None:
        """Add key after its back-off, which grows until `forget`."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.add_after(key, self._backoff.delay(failures))

    def forget(self, key: K) -> None:
        """Key went well: its back-off starts anew."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """Times `add_rate_limited` was called for key since the last `forget`."""
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """The next key; the caller must call `done` with it. Raises ClosedError once the queue is closed."""
        while not self._ready:
            if self._closed:
                raise ClosedError("the work queue is closed")
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled() and self._ready:
                    self._wake()
                raise
            finally:
                if not waiter.done() or waiter.cancelled():
                    self._waiters = deque(w for w in self._waiters if w is not waiter)
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._processing.add(key)
        return key

    def done(self, key: K) -> None:
        """The worker has finished key, well or not."""
        self._processing.discard(key)
        if key in self._dirty:
            self._push(key)

    async def aclose(self) -> None:
        """Drop everything and wake all workers with ClosedError."""
        self._closed = True
        self._ready.clear()
        self._dirty.clear()
        self._due.clear()
        self._delayed.clear()
        while self._waiters:
            self._wake()
        await self._alarm.aclose()

    def _push(self, key: K) -> None:
        self._ready.append(key)
        self._wake()

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _move_due(self) -> None:
        now = self._clock.monotonic()
        while self._delayed and self._delayed[0][0] <= now:
            due, _, key = heapq.heappop(self._delayed)
            # A key re-added with a shorter delay leaves its older entry behind.
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)
        if self._delayed:
            self._alarm.set(self._delayed[0][0])
