"""Watches: where they start, what they show, how they wait and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from storage_builders import KEY, labelled, make_pod, shown

from podbay.apiserver.storage import Change, Store
from podbay.apiserver.storage.watch import BATCH
from podbay.errors import ApiError


def _put(store: Store, name: str, namespace: str = "default", *, value: object = None, **labels: str) -> int:
    pod = make_pod(name, namespace, value=value, **labels)
    if store.get(KEY, namespace, name) is None:
        return store.create(KEY, pod, fields={}).version
    return store.update(KEY, pod, fields={}).version


def test_version_one_is_too_old_as_recorded(store: Store) -> None:
    watcher = store.watch(KEY, "default", resource_version="1")
    (change,) = watcher.take()
    assert change.type == "ERROR"
    assert change.entry.object() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"too old resource version: 1 ({store.compacted})",
        "reason": "Expired",
        "code": 410,
    }
    assert watcher.closed
    assert watcher.take() == []
    assert store.watcher_count == 0


@pytest.mark.parametrize("version", ["", "0"])
def test_from_anywhere_it_starts_with_the_current_state(store: Store, version: str) -> None:
    b, a = _put(store, "b"), _put(store, "a")
    watcher = store.watch(KEY, resource_version=version)
    assert shown(watcher.take()) == [("ADDED", "a", a), ("ADDED", "b", b)]
    a2 = _put(store, "a", value=1)
    assert shown(watcher.take()) == [("MODIFIED", "a", a2)]


def test_what_is_written_while_the_start_is_read_comes_after_it(store: Store) -> None:
    a, b = _put(store, "a"), _put(store, "b")
    watcher = store.watch(KEY)
    assert shown(watcher.take(1)) == [("ADDED", "a", a)]
    b2 = _put(store, "b", value=1)
    gone = store.delete(KEY, "default", "a").version
    assert shown(watcher.take()) == [("ADDED", "b", b), ("MODIFIED", "b", b2), ("DELETED", "a", gone)]


def test_resume_has_no_gap_and_no_repeat(store: Store) -> None:
    versions = [_put(store, "a", value=value) for value in range(5)]
    gone = store.delete(KEY, "default", "a").version
    again = _put(store, "a")
    expected = [("ADDED", "a", versions[0])]
    expected += [("MODIFIED", "a", v) for v in versions[1:]]
    expected += [("DELETED", "a", gone), ("ADDED", "a", again)]
    for skipped in range(len(expected) + 1):
        start = versions[0] - 1 + skipped
        assert shown(store.watch(KEY, resource_version=str(start)).take()) == expected[skipped:]


def test_a_deleted_object_is_shown_as_it_was(store: Store) -> None:
    start = _put(store, "a", value="last")
    live = store.watch(KEY, resource_version=str(start))
    store.delete(KEY, "default", "a")
    for watcher in (live, store.watch(KEY, resource_version=str(start))):
        (change,) = watcher.take()
        obj = change.entry.object()
        assert obj["spec"] == {"value": "last"}
        assert obj["metadata"]["resourceVersion"] == str(start + 1) == str(change.entry.version)


def test_selector_transitions(store: Store) -> None:
    start = store.version
    selects = labelled("team", "red")
    live = store.watch(KEY, predicate=selects, resource_version=str(start))
    _put(store, "a", team="blue", value=1)
    entered = _put(store, "a", team="red", value=2)
    stayed = _put(store, "a", team="red", value=3)
    left = _put(store, "a", team="blue", value=4)
    store.delete(KEY, "default", "a")
    resumed = store.watch(KEY, predicate=selects, resource_version=str(start))
    for watcher in (live, resumed):
        changes = watcher.take()
        assert shown(changes) == [("ADDED", "a", entered), ("MODIFIED", "a", stayed), ("DELETED", "a", left)]
        departed = changes[-1].entry.object()
        # The object as the watcher last saw it, at the version at which it left.
        assert departed["spec"] == {"value": 3}
        assert departed["metadata"]["labels"] == {"team": "red"}
        assert departed["metadata"]["resourceVersion"] == str(left)


def test_scopes(store: Store) -> None:
    start = str(store.version)
    scopes = [(None, None), ("n", None), (None, "a"), ("n", "a")]
    live = [store.watch(KEY, namespace, name=name, resource_version=start) for namespace, name in scopes]
    for namespace in ("n", "m"):
        for name in ("a", "b"):
            _put(store, name, namespace)
    store.create("secrets", make_pod("a", "n"), fields={})
    expected = [
        ["n/a", "n/b", "m/a", "m/b"],
        ["n/a", "n/b"],
        ["n/a", "m/a"],
        ["n/a"],
    ]
    resumed = [store.watch(KEY, namespace, name=name, resource_version=start) for namespace, name in scopes]
    for watchers in (live, resumed):
        seen = [[f"{c.entry.namespace}/{c.entry.name}" for c in watcher.take()] for watcher in watchers]
        assert seen == expected
    current = [store.watch(KEY, namespace, name=name) for namespace, name in scopes]
    assert [sorted(f"{c.entry.namespace}/{c.entry.name}" for c in w.take()) for w in current] == [
        sorted(keys) for keys in expected
    ]


def test_writes_elsewhere_cost_a_watch_nothing(store: Store) -> None:
    asked: list[str] = []

    def selects(labels: Mapping[str, str], fields: Mapping[str, str]) -> bool:
        asked.append(fields["metadata.name"])
        return True

    for number in range(100):
        store.watch(KEY, "default", name=f"p{number}", predicate=selects)
    _put(store, "p7")
    _put(store, "unrelated")
    store.create("secrets", make_pod("p7"), fields={})
    assert asked == ["p7"]


def test_initial_events_end_with_a_bookmark(store: Store) -> None:
    _put(store, "a")
    watcher = store.watch(KEY, send_initial_events=True, allow_bookmarks=True)
    added, bookmark = watcher.take()
    assert added.type == "ADDED"
    assert (bookmark.type, bookmark.initial_events_end) == ("BOOKMARK", True)
    assert bookmark.entry.object() == {
        "metadata": {
            "resourceVersion": str(store.version),
            "annotations": {"k8s.io/initial-events-end": "true"},
        }
    }


def test_no_bookmark_for_those_who_do_not_take_them(store: Store) -> None:
    _put(store, "a")
    assert [c.type for c in store.watch(KEY, send_initial_events=True).take()] == ["ADDED"]
    assert [c.type for c in store.watch(KEY, allow_bookmarks=True).take()] == ["ADDED"]


def test_initial_events_from_a_version_show_the_state_at_least_that_new(store: Store) -> None:
    start = _put(store, "a")
    b = _put(store, "b")
    watcher = store.watch(KEY, resource_version=str(start), send_initial_events=True, allow_bookmarks=True)
    changes = watcher.take()
    assert shown(changes)[:2] == [("ADDED", "a", start), ("ADDED", "b", b)]
    assert changes[2].entry.version == b


def test_without_initial_events_it_starts_now(store: Store) -> None:
    _put(store, "a")
    for version in ("", "0"):
        watcher = store.watch(KEY, resource_version=version, send_initial_events=False)
        assert watcher.take() == []
        b = _put(store, "b", value=version)
        assert [v for *_, v in shown(watcher.take())] == [b]


def test_initial_events_of_the_future_are_an_error(store: Store) -> None:
    wanted = store.version + 9
    watcher = store.watch(KEY, resource_version=str(wanted), send_initial_events=True)
    (change,) = watcher.take()
    assert change.type == "ERROR"
    assert change.entry.object()["code"] == 504
    assert "Too large resource version" in change.entry.object()["message"]


def test_a_watch_from_the_future_shows_only_what_is_newer(store: Store) -> None:
    wanted = store.version + 2
    watcher = store.watch(KEY, resource_version=str(wanted))
    assert watcher.take() == []
    for name in ("a", "b", "c"):
        _put(store, name)
    assert shown(watcher.take()) == [("ADDED", "c", wanted + 1)]


def test_a_malformed_version(store: Store) -> None:
    with pytest.raises(ApiError) as caught:
        store.watch(KEY, resource_version="x")
    assert caught.value.message == (
        'resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax'
    )


def test_bookmarks_carry_the_store_s_version(store: Store) -> None:
    watcher = store.watch(KEY, resource_version=str(store.version), allow_bookmarks=True)
    store.create("secrets", make_pod("s"), fields={})
    bookmark = watcher.bookmark()
    assert bookmark is not None
    assert bookmark.entry.object() == {"metadata": {"resourceVersion": str(store.version)}}
    _put(store, "a")
    # A bookmark now would skip what waits.
    assert watcher.pending()
    assert watcher.bookmark() is None
    watcher.take()
    assert watcher.bookmark() is not None
    watcher.close()
    assert watcher.bookmark() is None


def test_a_slow_watcher_is_ended_and_may_come_back() -> None:
    with Store.open(None, max_pending=10) as store:
        start = store.version
        slow, fast = (store.watch(KEY, resource_version=str(start)) for _ in range(2))
        seen = []
        for number in range(30):
            _put(store, f"p{number:02}")
            seen += fast.take()
        assert (slow.closed, slow.overflowed, slow.take()) == (True, True, [])
        assert not fast.closed
        assert store.watcher_count == 1
        resumed = store.watch(KEY, resource_version=str(start)).take(100)
        assert shown(resumed) == shown(seen)
        assert len(seen) == 30


def test_a_few_huge_objects_end_a_slow_watcher_too(store: Store) -> None:
    slow = store.watch(KEY, resource_version=str(store.version))
    for number in range(40):
        _put(store, "big", value=f"{number}" + "x" * 1_000_000)
    assert slow.overflowed


def test_a_long_backlog_comes_in_batches(store: Store) -> None:
    for number in range(BATCH + 10):
        _put(store, f"p{number:04}")
    watcher = store.watch(KEY)
    assert [len(watcher.take()) for _ in range(3)] == [BATCH, 10, 0]


def test_history_compacted_under_a_reading_watch_ends_it(store: Store) -> None:
    start = store.version
    for number in range(20):
        _put(store, f"p{number:02}")
    watcher = store.watch(KEY, resource_version=str(start))
    first = watcher.take(5)
    store.compact(start + 10)
    assert [c.entry.version for c in first] == list(range(start + 1, start + 6))
    assert watcher.take() == []
    assert watcher.closed


def test_watchers_of_an_event_share_its_encoding(store: Store) -> None:
    start = str(store.version)
    watchers = [store.watch(KEY, resource_version=start) for _ in range(3)]
    watchers += [store.watch(KEY, resource_version=start, predicate=labelled("a", "b"))]
    _put(store, "p", a="b")
    encoded: list[Change] = []

    def encode(change: Change) -> bytes:
        encoded.append(change)
        return change.entry.raw + b"\n"

    changes = [change for watcher in watchers for change in watcher.take()]
    lines = [change.encoded("json", encode) for change in changes]
    assert len(lines) == 4
    assert len(encoded) == 1
    assert changes[0].encoded("table", encode) == lines[0]
    assert len(encoded) == 2


async def test_changes_waits_for_a_write(store: Store) -> None:
    watcher = store.watch(KEY)
    waiting = asyncio.create_task(watcher.changes(None))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    version = _put(store, "a")
    assert shown(await waiting) == [("ADDED", "a", version)]


async def test_changes_gives_up_after_its_timeout(store: Store) -> None:
    watcher = store.watch(KEY)
    assert await watcher.changes(0.01) == []
    assert await watcher.changes(0) == []
    assert not watcher.closed
    _put(store, "a")
    assert len(await watcher.changes(0.01)) == 1


async def test_a_cancelled_wait_loses_nothing(store: Store) -> None:
    watcher = store.watch(KEY)
    waiting = asyncio.create_task(watcher.changes(None))
    await asyncio.sleep(0)
    _put(store, "a")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert [c.entry.name for c in await watcher.changes(1)] == ["a"]


async def test_iteration_ends_with_the_store(store: Store) -> None:
    _put(store, "a")
    seen = []

    async def follow() -> None:
        with store.watch(KEY) as watcher:
            async for change in watcher:
                seen.append(change.entry.name)

    following = asyncio.create_task(follow())
    await asyncio.sleep(0.01)
    _put(store, "b")
    await asyncio.sleep(0.01)
    store.close()
    await following
    assert seen == ["a", "b"]


def test_closing_removes_the_subscription(store: Store) -> None:
    watchers = [store.watch(KEY, "n", name=name) for name in ("a", "a", None)]
    assert store.watcher_count == 3
    for watcher in watchers:
        watcher.close()
        watcher.close()
    assert store.watcher_count == 0
    _put(store, "a", "n")
    assert [watcher.take() for watcher in watchers] == [[], [], []]
