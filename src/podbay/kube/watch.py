"""Keeps somebody informed of a collection for ever: list, watch, watch again, list again when history is lost.

Reconnecting is the normal path and not an error: servers end watches, proxies cut them, connections fall silent. The
present state comes as a stream where the server can (WatchList), else as pages. What changed while nobody listened
follows from the next list; finding that out is the sink's business (store.py), as it knows what was there.

aio/informer.py does the same for parts of the embedded cluster. This one shares no code with it on purpose (a fault
in common code would hide in tests against the embedded cluster) and differs: it survives networks, streams the first
state, reports trouble, and its store serves listeners of single objects.
Source of the rules: client-go/tools/cache/reflector.go.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from podbay.aio.backoff import Backoff
from podbay.aio.clock import Clock
from podbay.errors import ApiError, PodbayError
from podbay.kube.client import KubeClient
from podbay.kube.retry import is_permanent
from podbay.objects.api import WatchEvent
from podbay.objects.meta import Object, annotations_of
from podbay.objects.resource import GVR

__all__ = ["Scope", "WatchSink", "keep_watching"]

INITIAL_SECONDS = 30.0
"""How long the state may take to stream; older servers ignore the question and never mark its end."""
STATE_ATTEMPTS = 2
"""Times the state may fail to stream before it is listed."""
STEADY_SECONDS = 1.0
"""A watch that lived this long was worth opening; ending sooner with nothing to say counts as a failure."""
_DELAYS = Backoff(initial=0.1, maximum=5.0, jitter=1.0)
_REFUSED_DELAYS = Backoff(initial=1.0, maximum=30.0, jitter=0.5)
"""Missing rights are granted by people, not by the next attempt."""
_END_OF_STATE = "k8s.io/initial-events-end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is watched; equal scopes share a watch. namespace None means all."""

    resource: GVR
    namespace: str | None = None
    label_selector: str = ""
    field_selector: str = ""


class WatchSink(Protocol):
    """Who is kept informed. Methods return at once; objects belong to the sink."""

    def replace(self, items: list[Object], version: str) -> None:
        """All there is at version; whatever is not among items is gone."""
        ...

    def change(self, event: WatchEvent) -> None:
        """ADDED, MODIFIED or DELETED."""
        ...

    def progress(self, version: str) -> None:
        """Everything up to version has been told."""
        ...

    def trouble(self, error: PodbayError | None) -> None:
        """The stream failed and will be tried again; None once it works."""
        ...


async def keep_watching(
    client: KubeClient, scope: Scope, sink: WatchSink, clock: Clock, rng: random.Random
) -> None:
    """Feed sink until cancelled."""
    await _Watcher(client, scope, sink, clock, rng).run()


class _Watcher:
    def __init__(
        self, client: KubeClient, scope: Scope, sink: WatchSink, clock: Clock, rng: random.Random
    ) -> None:
        self._client, self._scope, self._sink = client, scope, sink
        self._clock, self._rng = clock, rng
        self._version: str | None = None
        self._streams_state = True
        self._state_failures = 0
        self._heard = False

    async def run(self) -> None:
        failures = 0
        while True:
            started, self._heard = self._clock.monotonic(), False
            error = await self._round()
            lasted = self._clock.monotonic() - started
            if error is not None and not self._learn(error):
                self._sink.trouble(error)
            if self._heard or lasted >= STEADY_SECONDS:
                failures = 0
            failures += 1
            await self._clock.sleep(self._delay(error, failures))

    def _delay(self, error: PodbayError | None, failures: int) -> float:
        if failures == 1 and not _is_refusal(error):
            # The stream was good and has ended: open the next one at once.
            return 0.0
        delays = _REFUSED_DELAYS if _is_refusal(error) and not _is_unknown(error) else _DELAYS
        return delays.delay(max(0, failures - 2), self._rng)

    def _learn(self, error: PodbayError) -> bool:
        """Draw conclusions; True when there is another way and so nothing to complain of."""
        if _is_expired(error):
            self._version = None
            return True
        if self._version is not None or not self._streams_state:
            return False
        # Servers refuse what they do not know; proxies cut what lasts too long for them.
        self._state_failures += 1
        if _cannot_stream_state(error) or self._state_failures >= STATE_ATTEMPTS:
            self._streams_state = False
            return _cannot_stream_state(error)
        return False

    async def _round(self) -> PodbayError | None:
        """One stream from where the last one ended; its error, or None when the server ended it."""
        try:
            if self._version is None and not self._streams_state:
                await self._list()
            if self._version is None:
                await self._watch_from_state()
            else:
                await self._watch(self._version)
        except PodbayError as err:
            return err
        return None

    async def _list(self) -> None:
        scope = self._scope
        answer = await self._client.list(
            scope.resource,
            namespace=scope.namespace,
            label_selector=scope.label_selector,
            field_selector=scope.field_selector,
        )
        self._replace(answer.items, answer.resource_version)

    def _replace(self, items: list[Object], version: str) -> None:
        self._version = version
        self._sink.replace(items, version)
        self._sink.trouble(None)

    def _open(self, version: str | None, *, state: bool) -> AsyncGenerator[WatchEvent, None]:
        scope = self._scope
        return self._client.watch(
            scope.resource,
            namespace=scope.namespace,
            label_selector=scope.label_selector,
            field_selector=scope.field_selector,
            resource_version=version,
            initial_events=state,
        )

    async def _watch(self, version: str) -> None:
        async with aclosing(self._open(version, state=False)) as events:
            async for event in events:
                self._take(event)

    async def _watch_from_state(self) -> None:
        """The present state, then its changes, on one stream."""
        items: list[Object] = []
        async with aclosing(self._open(None, state=True)) as events:
            try:
                async with asyncio.timeout(INITIAL_SECONDS) as limit:
                    async for event in events:
                        if event.type == "BOOKMARK" and _END_OF_STATE in annotations_of(event.object):
                            self._replace(items, _version(event.object))
                            limit.reschedule(None)
                            items = []
                        elif self._version is not None:
                            self._take(event)
                        elif event.type == "ERROR":
                            raise ApiError.from_status(event.object)
                        elif event.type == "ADDED":
                            items.append(event.object)
            except TimeoutError:
                self._streams_state = False

    def _take(self, event: WatchEvent) -> None:
        if event.type == "ERROR":
            raise ApiError.from_status(event.object)
        if not self._heard:
            self._heard = True
            self._sink.trouble(None)
        self._version = _version(event.object)
        if event.type == "BOOKMARK":
            self._sink.progress(self._version)
        else:
            self._sink.change(event)


def _version(obj: Object) -> str:
    return str((obj.get("metadata") or {}).get("resourceVersion") or "")


def _is_expired(error: PodbayError) -> bool:
    """The version to go on from is too old, or newer than a restored or re-made cluster."""
    if not isinstance(error, ApiError):
        return False
    return (
        error.code == 410
        or error.reason in ("Expired", "Gone")
        or "resource version" in error.message.lower()
    )


def _cannot_stream_state(error: PodbayError) -> bool:
    return isinstance(error, ApiError) and error.code in (400, 404, 405, 406, 422, 501)


def _is_unknown(error: PodbayError | None) -> bool:
    """401: the credential is fetched anew in its own time, and one watch of a process does not trouble the server."""
    return isinstance(error, ApiError) and error.code == 401


def _is_refusal(error: PodbayError | None) -> bool:
    """Only a change of rights, credentials or configuration helps."""
    return error is not None and is_permanent(error) and not _is_expired(error)
