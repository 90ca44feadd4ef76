"""The shared store: every change once and in order, deletions always, whatever order news arrives in. No sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podbay.errors import ApiError, ClosedError
from podbay.kube.store import Change, SharedStore, Subscription
from podbay.objects.api import WatchEvent
from podbay.objects.meta import Object


def obj(name: str, version: int, uid: str = "") -> Object:
    metadata = {"namespace": "n", "name": name, "uid": uid or f"{name}-1", "resourceVersion": str(version)}
    return {"metadata": {**metadata, "managedFields": [{"manager": "x"}]}}


def heard(subscription: Subscription) -> list[tuple[str, str]]:
    found = []
    while subscription.pending():
        change = subscription._changes.popleft()
        version = change.object["metadata"]["resourceVersion"] if change.object else ""
        found.append((change.type, version))
    return found


def event(kind: str, what: Object) -> WatchEvent:
    return WatchEvent(kind, what)


async def test_a_listener_hears_its_object_from_now_on() -> None:
    store = SharedStore()
    store.replace([obj("a", 5), obj("b", 6)], "6")
    a = store.subscribe("n", "a")
    c = store.subscribe("n", "c")
    store.change(event("MODIFIED", obj("a", 7)))
    store.change(event("MODIFIED", obj("a", 7)))
    store.change(event("MODIFIED", obj("a", 6)))
    store.change(event("ADDED", obj("c", 8)))
    store.change(event("DELETED", obj("a", 9)))
    store.change(event("ADDED", obj("a", 10, "a-2")))
    assert heard(a) == [("ADDED", "5"), ("MODIFIED", "7"), ("DELETED", "9"), ("ADDED", "10")]
    assert heard(c) == [("ADDED", "8")]
    assert "managedFields" not in store.objects()[0]["metadata"]
    assert store.version == "10"


async def test_a_deletion_while_the_stream_was_down_is_heard() -> None:
    store = SharedStore()
    store.replace([obj("a", 5), obj("b", 5)], "5")
    a, b = store.subscribe("n", "a"), store.subscribe("n", "b", uid="b-1")
    store.replace([obj("b", 9, "b-2")], "9")
    assert heard(a) == [("ADDED", "5"), ("DELETED", "5")]
    # Replaced by another of the same name: ours is gone, the other is not ours.
    assert heard(b) == [("ADDED", "5"), ("DELETED", "5")]


async def test_an_object_just_made_counts_as_seen() -> None:
    store = SharedStore()
    store.replace([], "5")
    made = store.subscribe("n", "a", known=obj("a", 7))
    assert heard(made) == [("ADDED", "7")]
    store.change(event("ADDED", obj("a", 7)))
    # A list from a cache that is behind does not prove anything.
    store.replace([], "6")
    assert heard(made) == []
    store.replace([], "8")
    assert heard(made) == [("DELETED", "7")]


async def test_an_object_made_and_gone_before_anybody_listened() -> None:
    store = SharedStore()
    store.replace([], "5")
    store.change(event("ADDED", obj("a", 7)))
    store.change(event("DELETED", obj("a", 8)))
    assert heard(store.subscribe("n", "a", known=obj("a", 7))) == [("DELETED", "7")]
    store.replace([], "20")
    assert heard(store.subscribe("n", "b", known=obj("b", 12))) == [("DELETED", "12")]
    store.change(event("ADDED", obj("c", 22, "c-2")))
    assert heard(store.subscribe("n", "c", known=obj("c", 21))) == [("DELETED", "21")]
    assert store.get("n", "c") is not None


async def test_an_object_that_should_be_there_and_is_not() -> None:
    store = SharedStore()
    early = store.subscribe("n", "a", uid="a-1")
    there = store.subscribe("n", "b", uid="b-1")
    store.replace([obj("b", 3)], "5")
    assert heard(early) == [("DELETED", "")]
    assert heard(there) == [("ADDED", "3")]
    assert heard(store.subscribe("n", "a", uid="a-1")) == [("DELETED", "")]


async def test_a_newer_answer_goes_before_older_events() -> None:
    store = SharedStore()
    store.replace([obj("a", 5)], "5")
    a = store.subscribe("n", "a", known=obj("a", 9))
    store.change(event("MODIFIED", obj("a", 7)))
    store.change(event("MODIFIED", obj("a", 9)))
    store.change(event("MODIFIED", obj("a", 11)))
    assert heard(a) == [("ADDED", "9"), ("MODIFIED", "11")]


async def test_listeners_of_everything() -> None:
    store = SharedStore()
    store.replace([obj("a", 1)], "1")
    seen: list[Change] = []
    stop = store.listen(seen.append)
    store.change(event("ADDED", obj("b", 2)))
    stop()
    store.change(event("ADDED", obj("c", 3)))
    assert [c.type for c in seen] == ["ADDED", "ADDED"]


async def test_waiting_for_the_first_state() -> None:
    store = SharedStore()
    waiting = asyncio.ensure_future(store.wait_synced())
    store.trouble(ApiError(503, "ServiceUnavailable", "later"))
    await asyncio.sleep(0)
    assert not waiting.done()
    store.replace([], "1")
    await waiting
    forbidden = SharedStore()
    forbidden.trouble(ApiError(403, "Forbidden", "pods is forbidden"))
    with pytest.raises(ApiError, match="forbidden"):
        await forbidden.wait_synced()


async def test_a_closed_store_tells_its_readers() -> None:
    store = SharedStore()
    store.replace([obj("a", 1)], "1")
    async with store.subscribe("n", "a") as a:
        store.close()
        assert (await a.next()).type == "ADDED"
        with pytest.raises(ClosedError):
            await a.next()
    assert store._subscriptions == {}


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_mix_of_events_and_lists_tells_the_truth_once(data: st.DataObject) -> None:
    """A true history, delivered as events, with gaps bridged by lists: changes are ordered, none twice, ends agree."""
    store = SharedStore()
    truth: dict[str, Object] = {}
    version, uids = 1, 0
    store.replace([], "1")
    subscription = store.subscribe("n", "a")
    connected = True
    pending: list[WatchEvent] = []
    for _ in range(data.draw(st.integers(1, 25))):
        step = data.draw(st.sampled_from(["change", "change", "delete", "cut", "list", "deliver"]))
        version += 1
        if step == "change":
            current = truth.get("a")
            if current is None:
                uids += 1
            truth["a"] = obj("a", version, f"a-{uids}")
            pending.append(event("MODIFIED" if current else "ADDED", truth["a"]))
        elif step == "delete" and "a" in truth:
            gone = truth.pop("a")
            pending.append(event("DELETED", obj("a", version, gone["metadata"]["uid"])))
        elif step == "cut":
            connected = False
        elif step == "list":
            pending.clear()
            store.replace(list(truth.values()), str(version))
            connected = True
        if connected:
            for one in pending:
                store.change(one)
            pending.clear()
    store.replace(list(truth.values()), str(version + 1))
    changes: list[Any] = list(subscription._changes)
    alive: str | None = None
    last = 0
    for change in changes:
        uid = change.object["metadata"]["uid"]
        now = int(change.object["metadata"]["resourceVersion"])
        if change.type == "ADDED":
            assert alive is None
            alive = uid
        elif change.type == "MODIFIED":
            assert alive == uid
        else:
            assert alive == uid
            alive = None
        assert now > last or (change.type == "DELETED" and now >= last)
        last = max(last, now)
    assert alive == (truth["a"]["metadata"]["uid"] if "a" in truth else None)
