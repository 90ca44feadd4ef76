"""Subscriptions: who hears of a write, and what waits for each of them.

A watcher first gives its backlog (the current state, or what happened since a version), read in batches as the
client takes it, then what was written meanwhile. Nothing here runs in the background: a write hands changes over
in the same turn of the event loop, and a watch that no write concerns costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Final

from podbay.apiserver.storage.entry import Change, Predicate
from podbay.apiserver.storage.event import Event

__all__ = ["Subscriptions", "WatchScope", "Watcher"]

MAX_PENDING: Final = 10_000
"""Changes that may wait for a slow client. The real watch cache allows 10 to 1,000 and some time to catch up;
here waiting costs a reference each, and bursts of a few thousand pods must not cut off a busy controller."""

MAX_PENDING_BYTES: Final = 32 * 2**20
"""Bytes of objects that may wait for a slow client, whatever their number."""

BATCH: Final = 500
"""Changes given at a time, so that a client with a long backlog does not hold up the others."""

_END: Final = object()


@dataclass(frozen=True, slots=True)
class WatchScope:
    """What a watch covers; None is any namespace, any name."""

    resource: str
    namespace: str | None = None
    name: str | None = None


class Watcher:
    """A subscription made by `Store.watch`. Close it, or use it in a `with` block.

    backlog yields None when the history that it reads from is gone.

    It ends by itself (`closed` turns true and `changes` gives []) when the client is too slow, when the
    history it still had to read is compacted, and when the store closes; the client then watches again from the
    last version it saw, as after any end of a stream.
    """

    def __init__(
        self,
        scope: WatchScope,
        selects: Predicate | None,
        *,
        backlog: Iterator[Change | None],
        max_pending: int,
        version: Callable[[], int],
        forget: Callable[[Watcher], None],
    ) -> None:
        self.scope = scope
        self.selects = selects
        self.closed = False
        self.overflowed = False
        """True when the client was too slow."""
        self._backlog: Iterator[Change | None] | None = backlog
        self._ahead: list[Change] = []
        self._buffer: list[Change] = []
        self._buffered_bytes = 0
        self._max_pending = max_pending
        self._version = version
        self._forget = forget
        self._after = version()
        self._waiter: asyncio.Future[None] | None = None

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aiter__(self) -> AsyncIterator[Change]:
        """Changes one by one until the watch ends."""
        while batch := await self.changes(None):
            for change in batch:
                yield change

    async def changes(self, timeout: float | None = None) -> list[Change]:
        """Up to BATCH waiting changes; waits for one, at most `timeout` seconds (None: for ever).

        Empty on time-out and when the watch has ended (see `closed`). One caller at a time.
        """
        batch = self.take()
        if batch or self.closed:
            return batch
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        timer = None if timeout is None else loop.call_later(max(0.0, timeout), self._wake)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()
        return self.take()

    def take(self, limit: int = BATCH) -> list[Change]:
        """What is waiting now, at most `limit` changes."""
        self._read_backlog(limit)
        batch, self._ahead = self._ahead[:limit], self._ahead[limit:]
        if len(batch) < limit and self._buffer:
            fresh = self._buffer[: limit - len(batch)]
            del self._buffer[: len(fresh)]
            self._buffered_bytes -= sum(len(change.entry.raw) for change in fresh)
            batch += fresh
        return batch

    def pending(self) -> bool:
        """Whether `take` would give something."""
        self._read_backlog(1)
        return bool(self._ahead or self._buffer)

    def bookmark(self) -> Change | None:
        """A BOOKMARK at the store's version, None while changes wait and after the end.

        For the server to send about once a minute, and shortly before it ends the watch by itself.
        """
        if self.closed or self.pending():
            return None
        return Change.bookmark(max(self._version(), self._after))

    def close(self) -> None:
        """End the watch and drop what was written meanwhile. Does nothing the second time."""
        if self.closed:
            return
        self.closed = True
        self._backlog = None
        self._buffer.clear()
        self._buffered_bytes = 0
        self._forget(self)
        self._wake()

    def start_after(self, version: int) -> None:
        """Give only what is written after a version that lies in the future."""
        self._after = version

    def offer(self, event: Event) -> None:
        """Take note of a write in the watch's scope."""
        if event.version <= self._after:
            return
        change = event.seen_by(self.selects)
        if change is None:
            return
        self._buffer.append(change)
        self._buffered_bytes += len(change.entry.raw)
        if len(self._buffer) > self._max_pending or self._buffered_bytes > MAX_PENDING_BYTES:
            self.overflowed = True
            self.close()
        elif self._waiter is not None:
            self._wake()

    def _read_backlog(self, limit: int) -> None:
        """Have up to `limit` changes of the backlog at hand, while it lasts."""
        while self._backlog is not None and len(self._ahead) < limit:
            change = next(self._backlog, _END)
            if isinstance(change, Change):
                self._ahead.append(change)
            elif change is None:
                self.close()
            else:
                self._backlog = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Subscriptions:
    """All watchers, found by what they cover: a write looks at four places, however many watches there are."""

    def __init__(self) -> None:
        self._by_scope: dict[tuple[str, str | None, str | None], dict[Watcher, None]] = {}

    def __len__(self) -> int:
        return sum(len(watchers) for watchers in self._by_scope.values())

    def add(self, watcher: Watcher) -> None:
        self._by_scope.setdefault(_key(watcher.scope), {})[watcher] = None

    def remove(self, watcher: Watcher) -> None:
        key = _key(watcher.scope)
        watchers = self._by_scope.get(key)
        if watchers is not None:
            watchers.pop(watcher, None)
            if not watchers:
                del self._by_scope[key]

    def dispatch(self, resource: str, namespace: str, name: str, event: Event) -> None:
        """Offer a write to every watcher it may concern."""
        for key in (
            (resource, None, None),
            (resource, namespace, None),
            (resource, None, name),
            (resource, namespace, name),
        ):
            watchers = self._by_scope.get(key)
            if watchers:
                for watcher in list(watchers):
                    watcher.offer(event)

    def close(self) -> None:
        for watchers in list(self._by_scope.values()):
            for watcher in list(watchers):
                watcher.close()


def _key(scope: WatchScope) -> tuple[str, str | None, str | None]:
    return (scope.resource, scope.namespace, scope.name)
