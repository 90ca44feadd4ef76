"""The informer against a small in-memory collection that speaks ClusterApi's list and watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from podbay.aio.informer import Informer, InformerSet
from podbay.aio.tasks import TaskGroup
from podbay.aio.virtual import VirtualClock
from podbay.errors import ApiError
from podbay.objects.api import ObjectList, WatchEvent
from podbay.objects.meta import Object
from podbay.objects.resource import GVR

PODS = GVR("", "v1", "pods")


def pod(name: str, version: int, node: str = "") -> Object:
    return {
        "metadata": {"namespace": "d", "name": name, "resourceVersion": str(version)},
        "spec": {"nodeName": node},
    }


class Collection:
    """List and watch over a list of events; watches end when told and expire when asked below `oldest`."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.events: list[tuple[int, WatchEvent]] = []
        self.version = 0
        self.oldest = 0
        self.changed = asyncio.Event()
        self.cut = False
        self.lists = 0
        self.refuse: ApiError | None = None

    def put(self, name: str, node: str = "") -> None:
        self.version += 1
        kind = "MODIFIED" if name in self.objects else "ADDED"
        self.objects[name] = pod(name, self.version, node)
        self._event(kind, self.objects[name])

    def drop(self, name: str) -> None:
        self.version += 1
        last = self.objects.pop(name)
        self._event("DELETED", pod(last["metadata"]["name"], self.version))

    def _event(self, kind: str, obj: Object) -> None:
        self.events.append((self.version, WatchEvent(kind, obj)))
        self.changed.set()
        self.changed = asyncio.Event()

    async def list(self, resource: GVR, **_: Any) -> ObjectList:
        self.lists += 1
        if self.refuse:
            raise self.refuse
        return ObjectList([dict(o) for o in self.objects.values()], str(self.version))

    async def watch(self, resource: GVR, *, resource_version: str, **_: Any) -> AsyncIterator[WatchEvent]:
        position = int(resource_version)
        if position < self.oldest:
            yield WatchEvent("ERROR", ApiError(410, "Expired", "too old resource version").status())
            return
        while True:
            for version, event in list(self.events):
                if version > position:
                    position = version
                    yield event
            if self.cut:
                self.cut = False
                return
            await self.changed.wait()

    def cut_watch(self) -> None:
        self.cut = True
        self.changed.set()
        self.changed = asyncio.Event()


async def test_follows_the_collection_and_tells_handlers() -> None:
    clock, api = VirtualClock(), Collection()
    api.put("a")
    seen: list[tuple[str, str]] = []

    def handler(old: Object | None, new: Object | None) -> None:
        kind = "added" if old is None else "deleted" if new is None else "changed"
        seen.append((kind, (new or old or {})["metadata"]["name"]))

    informer = Informer(api, PODS, clock)  # type: ignore[arg-type]
    informer.add_index("node", lambda o: [o["spec"]["nodeName"]])
    informer.add_handler(handler)
    async with TaskGroup("t") as group:
        group.start("informer", informer.run())
        await informer.synced.wait()
        api.put("b")
        api.put("a", node="n1")
        await clock.settle()
        assert [o["metadata"]["name"] for o in informer.by_index("node", "n1")] == ["a"]
        api.drop("b")
        await clock.settle()
    assert seen == [("added", "a"), ("added", "b"), ("changed", "a"), ("deleted", "b")]
    assert list(informer.store) == ["d/a"]
    assert informer.get("a", "d") is not None
    assert informer.by_index("node", "") == []


async def test_resumes_a_watch_that_ends_without_a_new_list() -> None:
    clock, api = VirtualClock(), Collection()
    informer = Informer(api, PODS, clock)  # type: ignore[arg-type]
    async with TaskGroup("t") as group:
        group.start("informer", informer.run())
        await informer.synced.wait()
        await clock.settle()
        api.cut_watch()
        api.put("a")
        await clock.advance(1)
        api.put("b")
        await clock.advance(1)
    assert set(informer.store) == {"d/a", "d/b"}
    assert api.lists == 1


async def test_an_expired_watch_is_replaced_by_a_list_that_also_finds_deletions() -> None:
    clock, api = VirtualClock(), Collection()
    api.put("a")
    api.put("b")
    deleted: list[str] = []
    informer = Informer(api, PODS, clock)  # type: ignore[arg-type]
    informer.add_handler(
        lambda old, new: deleted.append((old or {})["metadata"]["name"]) if new is None else None
    )
    async with TaskGroup("t") as group:
        group.start("informer", informer.run())
        await informer.synced.wait()
        await clock.settle()
        api.events.clear()
        api.objects.pop("a")
        api.version += 10
        api.oldest = api.version
        api.cut_watch()
        await clock.advance(1)
    assert deleted == ["a"]
    assert set(informer.store) == {"d/b"}
    assert api.lists == 2


async def test_a_refused_list_is_tried_again_with_growing_delays() -> None:
    clock, api = VirtualClock(), Collection()
    api.refuse = ApiError(503, "ServiceUnavailable", "starting")
    async with TaskGroup("t") as group:
        informers = InformerSet(api, group, clock)  # type: ignore[arg-type]
        informer = informers.informer(PODS)
        assert informers.informer(PODS) is informer
        await clock.advance(0.7)
        assert api.lists == 4  # at 0, 0.1, 0.3 and 0.7 seconds
        api.refuse = None
        await clock.advance(1)
        await informers.wait_synced()
