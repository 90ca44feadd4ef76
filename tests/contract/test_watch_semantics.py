"""Watches and pages on the wire: where they begin, what they repeat, how they end, how they are gone on with."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sample_objects import config_map
from watch_stream import watch

from podbay.testing import Environment
from podbay.testing.requests import Requests

INITIAL_END = "k8s.io/initial-events-end"


@pytest.fixture
def api(cluster: Environment) -> Iterator[Requests]:
    with Requests(cluster.kubeconfig) as requests:
        yield requests


@pytest.fixture
def path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def make(api: Requests, path: str, name: str) -> int:
    code, made = api.call("POST", path, config_map(name, {"a": "1"}, mine="yes"))
    assert code == 201, made
    return int(made["metadata"]["resourceVersion"])


def names(events: list[dict[str, Any]]) -> list[str]:
    return [e["object"]["metadata"]["name"] for e in events]


def now(api: Requests, path: str) -> str:
    version: str = api.call("GET", path)[1]["metadata"]["resourceVersion"]
    return version


def test_from_a_version_comes_everything_after_it(cluster: Environment, api: Requests, path: str) -> None:
    start = now(api, path)
    make(api, path, "a")
    middle = make(api, path, "b")
    api.call("DELETE", f"{path}/a")
    with watch(cluster.kubeconfig, path, resourceVersion=start) as stream:
        events = stream.until("DELETED")
    assert [(e["type"], n) for e, n in zip(events, names(events), strict=True)] == [
        ("ADDED", "a"),
        ("ADDED", "b"),
        ("DELETED", "a"),
    ]
    versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in events]
    assert versions == sorted(versions)
    assert len(set(versions)) == 3
    with watch(cluster.kubeconfig, path, resourceVersion=middle) as stream:
        assert names(stream.until("DELETED")) == ["a"]


def test_without_a_version_the_state_comes_first(cluster: Environment, api: Requests, path: str) -> None:
    make(api, path, "old")
    with watch(cluster.kubeconfig, path, labelSelector="mine=yes") as stream:
        assert names(stream.until("ADDED")) == ["old"]
        make(api, path, "new")
        assert names(stream.until("ADDED")) == ["new"]


def test_streamed_lists(cluster: Environment, api: Requests, path: str) -> None:
    """What informers of client-go 1.36 ask for: the state as events, a marked bookmark, then changes."""
    for name in ("a", "b", "c"):
        last = make(api, path, name)
    options = {
        "sendInitialEvents": "true",
        "allowWatchBookmarks": "true",
        "resourceVersionMatch": "NotOlderThan",
        "labelSelector": "mine=yes",
    }
    with watch(cluster.kubeconfig, path, **options) as stream:
        *first, mark = stream.until("BOOKMARK")
        assert sorted(names(first)) == ["a", "b", "c"]
        assert {e["type"] for e in first} == {"ADDED"}
        assert mark["object"]["metadata"]["annotations"] == {INITIAL_END: "true"}
        assert int(mark["object"]["metadata"]["resourceVersion"]) >= last
        assert mark["object"]["kind"] == "ConfigMap"
        api.call("DELETE", f"{path}/b")
        assert names(stream.until("DELETED")) == ["b"]
    with watch(
        cluster.kubeconfig, path, **options, resourceVersion=mark["object"]["metadata"]["resourceVersion"]
    ) as stream:
        again = stream.until("BOOKMARK")[:-1]
        assert sorted(names(again)) == ["a", "c"]


def test_options_that_contradict(cluster: Environment, api: Requests, path: str) -> None:
    code, said = api.call("GET", f"{path}?watch=true&sendInitialEvents=true")
    assert (code, said["reason"]) == (422, "Invalid")
    assert "resourceVersionMatch: Forbidden" in said["message"]
    assert api.call("GET", f"{path}?resourceVersion=abc")[0] == 400
    code, said = api.call("GET", f"{path}?resourceVersionMatch=Exact")
    assert (code, said["reason"]) == (422, "Invalid")


def test_the_end_comes_on_time(cluster: Environment, api: Requests, path: str) -> None:
    started = time.monotonic()
    with watch(cluster.kubeconfig, path, timeoutSeconds=1, resourceVersion=now(api, path)) as stream:
        assert stream.rest() == []
    assert time.monotonic() - started > 0.5


def test_a_watch_can_follow_one_object(cluster: Environment, api: Requests, path: str) -> None:
    start = now(api, path)
    make(api, path, "this")
    make(api, path, "that")
    with watch(cluster.kubeconfig, path, fieldSelector="metadata.name=that", resourceVersion=start) as stream:
        assert names(stream.until("ADDED")) == ["that"]
    # The old way of the same: /watch/ in the path.
    old = path.replace("/api/v1/", "/api/v1/watch/")
    with watch(cluster.kubeconfig, f"{old}/this", resourceVersion=start) as stream:
        assert names(stream.until("ADDED")) == ["this"]


def test_metadata_only(cluster: Environment, api: Requests, path: str) -> None:
    make(api, path, "a")
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    code, listed = api.call("GET", path, headers={"Accept": accept})
    assert (code, listed["kind"]) == (200, "PartialObjectMetadataList")
    assert all("data" not in item for item in listed["items"])
    code, table = api.call("GET", path, headers={"Accept": "application/json;as=Table;g=meta.k8s.io;v=v1"})
    assert (code, table["kind"]) == (200, "Table")
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Data", "Age"]


def test_pages_show_one_moment_while_writers_go_on(cluster: Environment, api: Requests, path: str) -> None:
    wanted = [f"keep-{n:02}" for n in range(30)]
    for name in wanted:
        make(api, path, name)
    stop = threading.Event()

    def disturb() -> None:
        with Requests(cluster.kubeconfig) as own:
            n = 0
            while not stop.is_set():
                make(own, path, f"noise-{n}")
                own.call("DELETE", f"{path}/keep-{n % 30:02}")
                make(own, path, f"keep-{n % 30:02}")
                n += 1

    first = api.call("GET", f"{path}?limit=4&labelSelector=mine%3Dyes")[1]
    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        found, page = [i["metadata"]["name"] for i in first["items"]], first
        while page["metadata"].get("continue"):
            code, page = api.call(
                "GET", f"{path}?limit=4&labelSelector=mine%3Dyes&continue={page['metadata']['continue']}"
            )
            assert code == 200, page
            assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
            found += [i["metadata"]["name"] for i in page["items"]]
    finally:
        stop.set()
        thread.join()
    assert found == wanted


def test_every_watcher_sees_every_change_once(cluster: Environment, api: Requests, path: str) -> None:
    start = now(api, path)
    seen: list[list[str]] = []

    def follow() -> None:
        with watch(cluster.kubeconfig, path, resourceVersion=start) as stream:
            found: list[str] = []
            while len(found) < 50:
                event = stream.next()
                assert event is not None
                found.append(event["object"]["metadata"]["name"])
            seen.append(found)

    watchers = [threading.Thread(target=follow) for _ in range(4)]
    writers = [threading.Thread(target=_write, args=(cluster, path, w)) for w in range(5)]
    for thread in watchers + writers:
        thread.start()
    for thread in watchers + writers:
        thread.join()
    assert len(seen) == 4
    assert all(order == seen[0] for order in seen)
    assert len(set(seen[0])) == 50


def _write(cluster: Environment, path: str, writer: int) -> None:
    with Requests(cluster.kubeconfig) as own:
        for n in range(10):
            make(own, path, f"w{writer}-{n}")
