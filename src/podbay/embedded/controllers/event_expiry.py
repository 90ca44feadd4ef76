"""Events live for an hour after they were last written, as kube-apiserver's --event-ttl lets them.

Only names and times are kept here, a few dozen bytes per Event.
"""

from __future__ import annotations

from datetime import UTC, datetime

from podbay.aio.clock import Clock
from podbay.aio.informer import InformerSet, object_key
from podbay.embedded.controllers.base import Loop
from podbay.errors import ApiError
from podbay.objects.api import ClusterApi
from podbay.objects.events import EVENTS
from podbay.objects.meta import Object

__all__ = ["EventExpiry"]


class EventExpiry:
    """Deletes old Events. Keys are Events."""

    def __init__(self, api: ClusterApi, clock: Clock, *, ttl_seconds: float) -> None:
        self._api = api
        self._clock = clock
        self._ttl_seconds = ttl_seconds
        self._expires: dict[str, float] = {}
        self.loop: Loop[str] = Loop("event expiry", clock, self._reconcile)

    def watch(self, informers: InformerSet) -> None:
        informers.separate(EVENTS, transform=_outline).add_handler(self._on_event)

    def _on_event(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            self._expires.pop(object_key(old or {}), None)
            return
        # Written just now, unless it is one of those found at the start.
        age = max(0.0, (self._clock.now() - _created(new)).total_seconds()) if old is None else 0.0
        key = object_key(new)
        self._expires[key] = self._clock.monotonic() + self._ttl_seconds - age
        if old is None:
            self.loop.queue.add_after(key, max(1.0, self._ttl_seconds - age))

    async def _reconcile(self, key: str) -> float | None:
        expires = self._expires.get(key)
        if expires is None:
            return None
        left = expires - self._clock.monotonic()
        if left > 0:
            return left
        namespace, _, name = key.partition("/")
        try:
            await self._api.delete(EVENTS, name, namespace=namespace)
        except ApiError as error:
            if error.code != 404:
                raise
        return None


def _outline(event: Object) -> Object:
    metadata = event["metadata"]
    kept = ("name", "namespace", "creationTimestamp", "resourceVersion")
    return {"metadata": {key: metadata[key] for key in kept}}


def _created(event: Object) -> datetime:
    moment = event["metadata"]["creationTimestamp"]
    return datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
