"""Telling those who listen or wait what became of containers and sandboxes.

Belongs to the event loop. Changes may be told twice or late; what counts is the state that goes with them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Self

from podbay.node.observed import ContainerState, ContainerStatus, SandboxStatus

__all__ = ["EventHub", "Subscription"]


class Subscription:
    """One listener's queue; `RuntimeEvents` of the protocol."""

    def __init__(self, hub: EventHub) -> None:
        self._hub = hub
        self._items: deque[ContainerStatus | SandboxStatus] = deque()
        self._changed = asyncio.Event()
        self._closed = False

    def put(self, item: ContainerStatus | SandboxStatus) -> None:
        self._items.append(item)
        self._changed.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ContainerStatus | SandboxStatus:
        while not self._items:
            if self._closed:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._items.popleft()

    async def aclose(self) -> None:
        self._closed = True
        self._changed.set()
        self._hub.drop(self)


class EventHub:
    """Passes states on to listeners and to those who wait for an end."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []
        self._waiters: dict[str, list[asyncio.Future[ContainerStatus | None]]] = {}

    def subscribe(self) -> Subscription:
        subscription = Subscription(self)
        self._subscriptions.append(subscription)
        return subscription

    def drop(self, subscription: Subscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def publish(self, item: ContainerStatus | SandboxStatus) -> None:
        """Tell everybody."""
        for subscription in self._subscriptions:
            subscription.put(item)
        if isinstance(item, ContainerStatus) and item.state in (
            ContainerState.EXITED,
            ContainerState.UNKNOWN,
        ):
            self._wake(item.id, item)

    def gone(self, container_id: str) -> None:
        """A container was removed: nobody needs to wait for its end any more."""
        self._wake(container_id, None)

    def _wake(self, container_id: str, status: ContainerStatus | None) -> None:
        for waiter in self._waiters.pop(container_id, ()):
            if not waiter.done():
                waiter.set_result(status)

    def expect(self, container_id: str) -> asyncio.Future[ContainerStatus | None]:
        """Done with the state once the container ends; with None when it is removed first."""
        waiter: asyncio.Future[ContainerStatus | None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(container_id, []).append(waiter)
        return waiter

    def expect_no_more(self, container_id: str, waiter: asyncio.Future[ContainerStatus | None]) -> None:
        """Forget what `expect` gave."""
        waiters = self._waiters.get(container_id, [])
        if waiter in waiters:
            waiters.remove(waiter)
        if not waiters:
            self._waiters.pop(container_id, None)

    def close(self) -> None:
        """End every subscription and wait."""
        for subscription in list(self._subscriptions):
            subscription._closed = True
            subscription._changed.set()
        for container_id in list(self._waiters):
            self._wake(container_id, None)
