"""The scheduler's Events: created once, repetitions counted in `series` at growing intervals.

An Event that cannot be stored (its namespace is going away) is dropped, as Kubernetes' recorders do.
Source: client-go/tools/events/event_broadcaster.go.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass

from podbay.aio.clock import Clock
from podbay.embedded.events import store_event
from podbay.errors import ApiError
from podbay.objects.api import ClusterApi
from podbay.objects.events import EVENTS, EventType, object_reference, reported_event, timestamp_micro
from podbay.objects.meta import Object

__all__ = ["Recorder"]

log = logging.getLogger(__name__)

_REMEMBERED = 4096
"""Distinct events whose repetitions are counted; more would be memory for pods long gone."""


@dataclass(slots=True)
class _Seen:
    name: str
    count: int = 1


class Recorder:
    """Writes Events of one component."""

    def __init__(self, api: ClusterApi, clock: Clock, *, controller: str, instance: str) -> None:
        self._api = api
        self._clock = clock
        self._controller = controller
        self._instance = instance
        self._seen: OrderedDict[tuple[str, str, str], _Seen] = OrderedDict()

    async def record(
        self,
        regarding: Object,
        *,
        type: EventType,  # noqa: A002 - the API's own field name
        reason: str,
        action: str,
        note: str,
        related: Object | None = None,
    ) -> None:
        """Say that something happened to the object `regarding`."""
        now = self._clock.now()
        event = reported_event(
            object_reference(_typed(regarding)),
            type=type,
            reason=reason,
            action=action,
            note=note,
            controller=self._controller,
            instance=self._instance,
            now=now,
            related=object_reference(_typed(related)) if related else None,
        )
        namespace = event["metadata"]["namespace"]
        key = (regarding["metadata"].get("uid") or "", reason, note)
        seen = self._seen.get(key)
        try:
            if seen is None:
                self._remember(key, await store_event(self._api, event))
                return
            seen.count += 1
            # 2, 4, 8, …: a pod that is refused all day must not write all day.
            if seen.count & (seen.count - 1) == 0:
                series = {"count": seen.count, "lastObservedTime": timestamp_micro(now)}
                await self._api.patch(EVENTS, seen.name, {"series": series}, namespace=namespace)
        except ApiError as error:
            self._seen.pop(key, None)
            log.debug("event %s dropped: %s", reason, error.message)

    def _remember(self, key: tuple[str, str, str], name: str) -> None:
        self._seen[key] = _Seen(name)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)


def _typed(obj: Object) -> Object:
    """List items carry no apiVersion and kind; all that is recorded about here are pods."""
    return obj if obj.get("kind") else {**obj, "apiVersion": "v1", "kind": "Pod"}
