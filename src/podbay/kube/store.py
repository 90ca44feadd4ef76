"""A collection as one watch knows it, and listeners of single objects: each hears every change of its object once.

Order is that of the cluster. A deletion is heard even when it happened while the stream was down, also of an object
that a listener has just created and the watch has never shown. An object that was replaced by another of the same name
is heard as deleted. An object that leaves the selector looks deleted, too; whoever did not delete it asks the cluster.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self, TypeAlias

from podbay.errors import ClosedError, PodbayError
from podbay.kube.retry import is_permanent
from podbay.objects.api import WatchEvent
from podbay.objects.meta import Object, name_of, namespace_of, uid_of

__all__ = ["Change", "Listener", "SharedStore", "Subscription"]

TOMBSTONES = 10_000
"""Deleted uids remembered, for listeners that come late; a create's answer and its deletion are seconds apart."""

Key: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to an object. DELETED carries the last state known, None when there never was one here."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    object: Object | None


Listener = Callable[[Change], None]
"""Called on the event loop for every change of the collection; must return at once and change nothing."""


class Subscription:
    """The changes of one object, in order, each once. Use with `async with`; one reader."""

    def __init__(self, store: SharedStore, key: Key, uid: str) -> None:
        self.key = key
        self.uid = uid
        """Only this object; empty: whichever has the name."""
        self._store = store
        self._changes: deque[Change] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._closed: BaseException | None = None

    async def next(self) -> Change:
        """The next change. Raises ClosedError when the store is closed."""
        while not self._changes:
            if self._closed is not None:
                raise self._closed
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._changes.popleft()

    def pending(self) -> bool:
        """`next` would return at once."""
        return bool(self._changes)

    async def __aiter__(self) -> AsyncIterator[Change]:
        while True:
            yield await self.next()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._store._unsubscribe(self)

    def _put(self, change: Change) -> None:
        self._changes.append(change)
        self._wake()

    def _close(self, error: BaseException) -> None:
        self._closed = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class SharedStore:
    """Fed by `watch.keep_watching` (it is a WatchSink), read by everybody. Objects are shared: change none."""

    def __init__(self) -> None:
        self.version = ""
        """The cluster's version up to which this is complete."""
        self.trouble_now: PodbayError | None = None
        """Why the stream is down, None while it works."""
        self._objects: dict[Key, Object] = {}
        self._subscriptions: dict[Key, list[Subscription]] = {}
        self._listeners: list[Listener] = []
        self._tombstones: OrderedDict[str, None] = OrderedDict()
        self._synced = False
        self._turn = asyncio.Event()
        self._on_trouble: list[Callable[[PodbayError], None]] = []

    # -- reading

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, namespace: str, name: str) -> Object | None:
        """The object as last heard of."""
        return self._objects.get((namespace, name))

    def objects(self) -> list[Object]:
        return list(self._objects.values())

    @property
    def synced(self) -> bool:
        """The present state has been seen at least once."""
        return self._synced

    async def wait_synced(self) -> None:
        """Return once the state is known. Raises what makes that impossible: no right to watch, no credential."""
        while not self._synced:
            if self.trouble_now is not None and is_permanent(self.trouble_now):
                raise self.trouble_now
            self._turn.clear()
            await self._turn.wait()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call listener for what is here (as ADDED) and every change; gives the function that ends it."""
        self._listeners.append(listener)
        for obj in list(self._objects.values()):
            listener(Change("ADDED", obj))
        return lambda: self._listeners.remove(listener)

    def on_trouble(self, call: Callable[[PodbayError], None]) -> None:
        """Call this whenever the stream fails."""
        self._on_trouble.append(call)

    def subscribe(
        self, namespace: str, name: str, *, uid: str = "", known: Object | None = None
    ) -> Subscription:
        """Hear of one object, from its present state on.

        known is its state from elsewhere, such as the answer to its creation: it counts as seen, so that its deletion
        is heard in any case. With uid (or known) only that object; DELETED follows when it is not, or no longer, there.
        """
        uid = uid or (uid_of(known) if known is not None else "")
        subscription = Subscription(self, (namespace, name), uid)
        gone = known is not None and self._place(known)
        current = self._objects.get(subscription.key)
        self._subscriptions.setdefault(subscription.key, []).append(subscription)
        if current is not None and (not uid or uid_of(current) == uid):
            subscription._put(Change("ADDED", current))
        elif gone or (uid and known is None and self._is_gone(subscription)):
            subscription._put(Change("DELETED", known))
        return subscription

    def _is_gone(self, subscription: Subscription) -> bool:
        return self._synced or subscription.uid in self._tombstones

    def _place(self, known: Object) -> bool:
        """Take an object from elsewhere into account; True when it is known to be gone already."""
        uid, key = uid_of(known), (namespace_of(known), name_of(known))
        if uid in self._tombstones:
            return True
        current = self._objects.get(key)
        if current is not None and uid_of(current) == uid:
            if _is_newer(known, current):
                self._put(key, _lean(known))
            return False
        if current is not None and _is_newer(current, known):
            return True
        if current is None and self._synced and not _is_after(known, self.version):
            # The stream is past its creation and does not have it.
            return True
        if current is not None:
            self._remove(key, current)
        self._put(key, _lean(known))
        return False

    def _unsubscribe(self, subscription: Subscription) -> None:
        left = self._subscriptions.get(subscription.key, [])
        if subscription in left:
            left.remove(subscription)
        if not left:
            self._subscriptions.pop(subscription.key, None)

    # -- being fed (WatchSink)

    def replace(self, items: list[Object], version: str) -> None:
        """All there is; what is not among it was deleted meanwhile, unless it is newer than the list."""
        fresh = {(namespace_of(obj), name_of(obj)): obj for obj in items}
        for key, old in list(self._objects.items()):
            if key not in fresh and not _is_after(old, version):
                self._remove(key, old)
        for obj in items:
            self._update(obj)
        self.version = version
        first, self._synced = not self._synced, True
        self._turn.set()
        if first:
            self._tell_absent()

    def _tell_absent(self) -> None:
        """Listeners of an object that somebody said exists, and that the first state does not have."""
        for key, subscriptions in list(self._subscriptions.items()):
            current = self._objects.get(key)
            for subscription in subscriptions:
                is_there = current is not None and uid_of(current) == subscription.uid
                if subscription.uid and not is_there and not subscription.pending():
                    subscription._put(Change("DELETED", None))

    def change(self, event: WatchEvent) -> None:
        obj = event.object
        key = (namespace_of(obj), name_of(obj))
        if event.type == "DELETED":
            current = self._objects.get(key)
            if current is not None and uid_of(current) == uid_of(obj):
                self._remove(key, _lean(obj))
            self._bury(uid_of(obj))
        else:
            self._update(obj)
        self.progress(_version(obj))

    def progress(self, version: str) -> None:
        self.version = version or self.version

    def trouble(self, error: PodbayError | None) -> None:
        self.trouble_now = error
        self._turn.set()
        if error is not None:
            for call in self._on_trouble:
                call(error)

    def close(self, error: BaseException | None = None) -> None:
        """No more changes will come; readers learn it after what they have not read yet."""
        reason = error or ClosedError("the watch of this collection was closed")
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription._close(reason)

    def _update(self, obj: Object) -> None:
        key = (namespace_of(obj), name_of(obj))
        if uid_of(obj) in self._tombstones:
            return
        current = self._objects.get(key)
        if current is not None and uid_of(current) != uid_of(obj):
            if _is_newer(current, obj):
                return
            self._remove(key, current)
            current = None
        if current is None or _is_newer(obj, current):
            self._put(key, _lean(obj))

    def _put(self, key: Key, obj: Object) -> None:
        kind: Literal["ADDED", "MODIFIED"] = "MODIFIED" if key in self._objects else "ADDED"
        self._objects[key] = obj
        self._tell(key, Change(kind, obj))

    def _remove(self, key: Key, last: Object) -> None:
        del self._objects[key]
        self._bury(uid_of(last))
        self._tell(key, Change("DELETED", last))

    def _bury(self, uid: str) -> None:
        self._tombstones[uid] = None
        if len(self._tombstones) > TOMBSTONES:
            self._tombstones.popitem(last=False)

    def _tell(self, key: Key, change: Change) -> None:
        uid = uid_of(change.object) if change.object is not None else ""
        for subscription in list(self._subscriptions.get(key, ())):
            if not subscription.uid or subscription.uid == uid:
                subscription._put(change)
        for listener in list(self._listeners):
            listener(change)


def _lean(obj: Object) -> Object:
    """Field ownership is half of an object and of no use to readers. The caller's object stays as it is."""
    metadata = obj.get("metadata") or {}
    if "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {k: v for k, v in metadata.items() if k != "managedFields"}}


def _version(obj: Object) -> str:
    return str((obj.get("metadata") or {}).get("resourceVersion") or "")


def _is_after(obj: Object, version: str) -> bool:
    """The object's state is newer than a version of its collection (comparable since Kubernetes 1.35; always were)."""
    own = _version(obj)
    return own.isdecimal() and version.isdecimal() and int(own) > int(version)


def _is_newer(obj: Object, than: Object) -> bool:
    """Its state is a later one; unequal versions that cannot be compared count as later."""
    own, other = _version(obj), _version(than)
    if own.isdecimal() and other.isdecimal():
        return int(own) > int(other)
    return own != other
