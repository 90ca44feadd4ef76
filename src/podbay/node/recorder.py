"""The kubelet's Events: sent in order behind the agent's back, repetitions counted, floods cut.

An Event that cannot be stored (its namespace is going away) is dropped, as the kubelet drops it.
Source: client-go/tools/record (events_cache.go: correlation and spam filter; event.go).
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime

from podbay.aio.clock import Clock
from podbay.errors import ApiError
from podbay.node.podspec import kind_of
from podbay.objects.api import ClusterApi
from podbay.objects.events import EVENTS, EventType, object_reference, recorded_event, renamed, timestamp
from podbay.objects.meta import Object

__all__ = ["EventRecorder"]

log = logging.getLogger(__name__)

_REMEMBERED = 4096
"""Distinct events whose repetitions are counted (client-go's cache size)."""
_BURST = 25
_REFILL_SECONDS = 300.0
"""Events about one object: 25 at once, then one every five minutes."""
_SIMILAR = 10
_SIMILAR_SECONDS = 600.0
"""More different messages with one reason about one object are shown as one, within ten minutes."""
_TRIES = 32
"""Events of one object in one microsecond; only a clock that stands still makes so many."""

_FIELDS = {
    "init": "initContainers",
    "sidecar": "initContainers",
    "main": "containers",
    "ephemeral": "ephemeralContainers",
}


@dataclass(slots=True)
class _Seen:
    name: str
    namespace: str
    count: int = 1


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled: float


@dataclass(slots=True)
class _Similar:
    messages: set[str] = field(default_factory=set)
    last: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    involved: Object
    type: EventType
    reason: str
    message: str
    at: datetime


class EventRecorder:
    """Writes the Events of one node's kubelet. `run` sends them; until then they wait."""

    def __init__(self, api: ClusterApi, clock: Clock, *, node: str) -> None:
        self._api, self._clock, self._node = api, clock, node
        self._waiting: asyncio.Queue[_Event] = asyncio.Queue()
        self._seen: OrderedDict[tuple[str, ...], _Seen] = OrderedDict()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._similar: OrderedDict[tuple[str, ...], _Similar] = OrderedDict()

    def pod(self, pod: Object, type: EventType, reason: str, message: str, *, container: str = "") -> None:  # noqa: A002
        """Something happened to a pod, or to one of its containers."""
        path = ""
        if container and (kind := kind_of(pod["spec"], container)) is not None:
            path = f"spec.{_FIELDS[kind]}{{{container}}}"
        typed = {"apiVersion": "v1", "kind": "Pod", **pod}
        self._put(object_reference(typed, field_path=path), type, reason, message)

    def node(self, type: EventType, reason: str, message: str) -> None:  # noqa: A002
        """Something happened to the node. The kubelet puts the name where the uid belongs."""
        involved = {"kind": "Node", "name": self._node, "uid": self._node}
        self._put(involved, type, reason, message)

    def _put(self, involved: Object, type: EventType, reason: str, message: str) -> None:  # noqa: A002
        event = _Event(involved=involved, type=type, reason=reason, message=message, at=self._clock.now())
        self._waiting.put_nowait(event)

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            event = await self._waiting.get()
            try:
                await self._send(event)
            except ApiError as error:
                level = logging.DEBUG if error.code in (403, 404) else logging.WARNING
                log.log(level, "event %s dropped: %s", event.reason, error.message)
            finally:
                self._waiting.task_done()

    async def drain(self) -> None:
        """Return when all events so far are sent."""
        await self._waiting.join()

    async def _send(self, event: _Event) -> None:
        now = self._clock.monotonic()
        combined = self._is_one_of_many(event, now)
        if not self._allowed(event, now):
            return
        message = f"(combined from similar events): {event.message}" if combined else event.message
        involved = event.involved
        # Combined events are one, whose message is that of the last.
        text = "" if combined else message
        key = (involved.get("uid", ""), involved.get("fieldPath", ""), event.type, event.reason, text)
        seen = self._seen.get(key)
        if seen is not None and await self._count(seen, event.at, message):
            self._seen.move_to_end(key)
            return
        stored = await self._create(event, message)
        self._seen[key] = stored
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    async def _count(self, seen: _Seen, at: datetime, message: str) -> bool:
        """Raise the count of an event that is stored; False when somebody removed it."""
        patch = {"count": seen.count + 1, "lastTimestamp": timestamp(at), "message": message}
        try:
            await self._api.patch(EVENTS, seen.name, patch, namespace=seen.namespace)
        except ApiError as error:
            if error.code == 404:
                return False
            raise
        seen.count += 1
        return True

    async def _create(self, event: _Event, message: str) -> _Seen:
        obj = recorded_event(
            event.involved,
            type=event.type,
            reason=event.reason,
            message=message,
            component="kubelet",
            now=event.at,
            host=self._node,
        )
        for left in reversed(range(_TRIES)):
            try:
                await self._api.create(EVENTS, obj, namespace=obj["metadata"]["namespace"])
                break
            except ApiError as error:
                if error.reason != "AlreadyExists" or not left:
                    raise
                obj = renamed(obj)
        return _Seen(obj["metadata"]["name"], obj["metadata"]["namespace"])

    def _is_one_of_many(self, event: _Event, now: float) -> bool:
        """Whether too many different messages came with this reason."""
        key = (event.involved.get("uid", ""), event.involved.get("fieldPath", ""), event.type, event.reason)
        similar = self._similar.setdefault(key, _Similar())
        self._similar.move_to_end(key)
        if len(self._similar) > _REMEMBERED:
            self._similar.popitem(last=False)
        if now - similar.last > _SIMILAR_SECONDS:
            similar.messages.clear()
        similar.last = now
        similar.messages.add(event.message)
        return len(similar.messages) >= _SIMILAR

    def _allowed(self, event: _Event, now: float) -> bool:
        key = event.involved.get("uid", "")
        bucket = self._buckets.setdefault(key, _Bucket(_BURST, now))
        self._buckets.move_to_end(key)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        bucket.tokens = min(_BURST, bucket.tokens + (now - bucket.filled) / _REFILL_SECONDS)
        bucket.filled = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True
