"""Create, update, delete: versions, conflicts, what is stored and what comes back."""

from __future__ import annotations

from datetime import timedelta

import orjson
import pytest
from storage_builders import KEY, FixedClock, make_pod

from podbay.apiserver.storage import Store
from podbay.errors import ApiError, ClosedError


def test_create_writes_the_version_into_the_object(store: Store) -> None:
    before = store.version
    pod = make_pod("a", app="x")
    entry = store.create(KEY, pod, fields={"status.phase": "Pending"})
    assert entry.version == store.version == before + 1
    assert pod["metadata"]["resourceVersion"] == str(entry.version)
    assert entry.labels == {"app": "x"}
    assert entry.fields == {
        "metadata.name": "a",
        "metadata.namespace": "default",
        "status.phase": "Pending",
    }
    assert store.get(KEY, "default", "a") is entry


def test_raw_is_the_object_without_its_type(store: Store) -> None:
    pod = make_pod("a")
    entry = store.create(KEY, pod, fields={})
    assert orjson.loads(entry.raw) == {"metadata": pod["metadata"], "spec": pod["spec"]}
    assert pod["kind"] == "Pod"
    parsed = entry.object()
    parsed["spec"] = "changed"
    assert entry.object()["spec"] == {"value": None}


def test_what_a_caller_does_to_its_object_later_changes_nothing(store: Store) -> None:
    pod = make_pod("a", app="x")
    entry = store.create(KEY, pod, fields={})
    pod["metadata"]["labels"]["app"] = "y"
    assert entry.labels == {"app": "x"}
    assert entry.object()["metadata"]["labels"] == {"app": "x"}


def test_secrets_do_not_show_in_a_repr(store: Store) -> None:
    watcher = store.watch("secrets")
    entry = store.create("secrets", make_pod("s", value="hunter2"), fields={})
    shown = repr((entry, watcher.take(), store.list("secrets"), store, watcher))
    assert "hunter2" not in shown


def test_create_twice(store: Store) -> None:
    store.create("roles.rbac.authorization.k8s.io", make_pod("a"), fields={})
    version = store.version
    with pytest.raises(ApiError) as caught:
        store.create("roles.rbac.authorization.k8s.io", make_pod("a"), fields={})
    assert (caught.value.code, caught.value.reason) == (409, "AlreadyExists")
    assert caught.value.message == 'roles.rbac.authorization.k8s.io "a" already exists'
    assert store.version == version
    store.create(KEY, make_pod("a"), fields={})
    store.create(KEY, make_pod("a", "other"), fields={})


def test_update_of_a_stale_version_as_recorded(store: Store) -> None:
    entry = store.create(KEY, make_pod("p"), fields={})
    store.update(KEY, make_pod("p", value=1), fields={}, expected=entry.version)
    with pytest.raises(ApiError) as caught:
        store.update(KEY, make_pod("p", value=2), fields={}, expected=entry.version)
    assert (caught.value.code, caught.value.reason) == (409, "Conflict")
    assert caught.value.message == (
        'Operation cannot be fulfilled on pods "p": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    assert caught.value.details == {"name": "p", "group": "", "kind": "pods"}


def test_writes_to_what_is_not_there(store: Store) -> None:
    for write in (
        lambda: store.update(KEY, make_pod("p"), fields={}),
        lambda: store.delete(KEY, "default", "p"),
    ):
        with pytest.raises(ApiError) as caught:
            write()
        assert (caught.value.code, caught.value.message) == (404, 'pods "p" not found')


def test_an_update_that_changes_nothing_makes_no_version(store: Store) -> None:
    entry = store.create(KEY, make_pod("p", value=1, app="x"), fields={})
    watcher = store.watch(KEY, resource_version=str(entry.version))
    same = make_pod("p", value=1, app="x")
    assert store.update(KEY, same, fields={}) is entry
    assert same["metadata"]["resourceVersion"] == str(entry.version)
    reordered = dict(reversed(make_pod("p", value=1, app="x").items()))
    assert store.update(KEY, reordered, fields={}) is entry
    assert store.version == entry.version
    assert watcher.take() == []
    # The same length, but another value.
    assert store.update(KEY, make_pod("p", value=2, app="x"), fields={}).version == entry.version + 1


def test_a_stale_update_that_changes_nothing_is_still_a_conflict(store: Store) -> None:
    entry = store.create(KEY, make_pod("p"), fields={})
    with pytest.raises(ApiError, match="has been modified"):
        store.update(KEY, make_pod("p"), fields={}, expected=entry.version - 1)


def test_delete_gives_the_last_state_at_a_new_version(store: Store) -> None:
    entry = store.create(KEY, make_pod("p", value=5), fields={})
    gone = store.delete(KEY, "default", "p", expected=entry.version)
    assert gone.version == store.version == entry.version + 1
    assert gone.object()["metadata"]["resourceVersion"] == str(gone.version)
    assert gone.object()["spec"] == {"value": 5}
    assert store.get(KEY, "default", "p") is None
    again = store.create(KEY, make_pod("p"), fields={})
    assert again.version == gone.version + 1


def test_delete_of_a_stale_version(store: Store) -> None:
    entry = store.create(KEY, make_pod("p"), fields={})
    with pytest.raises(ApiError, match="has been modified"):
        store.delete(KEY, "default", "p", expected=entry.version - 1)
    assert store.get(KEY, "default", "p") is entry


def test_delete_with_another_last_state(store: Store) -> None:
    entry = store.create(KEY, make_pod("p", value=1), fields={})
    live = store.watch(KEY, resource_version=str(entry.version))
    gone = store.delete(KEY, "default", "p", final=make_pod("p", value="final"))
    resumed = store.watch(KEY, resource_version=str(entry.version))
    for watcher in (live, resumed):
        (change,) = watcher.take()
        assert (change.type, change.entry.version) == ("DELETED", gone.version)
        assert change.entry.object()["spec"] == {"value": "final"}


def test_get_waits_for_no_version(store: Store) -> None:
    entry = store.create(KEY, make_pod("p"), fields={})
    assert store.get(KEY, "default", "p", resource_version="0") is entry
    assert store.get(KEY, "default", "p", resource_version=str(entry.version)) is entry
    with pytest.raises(ApiError, match="Too large resource version"):
        store.get(KEY, "default", "p", resource_version=str(entry.version + 1))
    with pytest.raises(ApiError) as caught:
        store.get(KEY, "default", "p", resource_version="x")
    assert caught.value.code == 500
    assert caught.value.message.startswith('resourceVersion: Invalid value: "x"')


def test_cluster_scoped_objects_have_no_namespace(store: Store) -> None:
    pod = make_pod("n1")
    del pod["metadata"]["namespace"]
    entry = store.create("nodes", pod, fields={})
    assert store.get("nodes", None, "n1") is store.get("nodes", "", "n1") is entry
    assert entry.fields["metadata.namespace"] == ""


def test_resources_are_kept_apart(store: Store) -> None:
    store.create(KEY, make_pod("a"), fields={})
    versions = store.collection_version(KEY), store.collection_version("secrets")
    store.create("secrets", make_pod("a"), fields={})
    store.delete("secrets", "default", "a")
    assert (store.count(KEY), store.count("secrets")) == (1, 0)
    assert store.collection_version(KEY) == versions[0]
    assert store.collection_version("secrets") > versions[1]
    assert [entry.name for entry in store.entries(KEY, "default")] == ["a"]
    assert store.count(KEY, "elsewhere") == 0


def test_a_closed_store_takes_no_writes(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(ClosedError):
        store.create(KEY, make_pod("a"), fields={})
    with pytest.raises(ClosedError):
        store.watch(KEY)


def test_history_is_bounded_by_count() -> None:
    with Store.open(None, history_limit=100) as store:
        store.create(KEY, make_pod("p"), fields={})
        for value in range(1000):
            store.update(KEY, make_pod("p", value=value), fields={})
            assert store.version - store.compacted <= 100 + 256
        store.compact()
        assert store.version - store.compacted == 100


def test_history_is_bounded_by_age(clock: FixedClock) -> None:
    with Store.open(None, history_seconds=300, clock=clock) as store:
        store.create(KEY, make_pod("old"), fields={})
        clock.time += timedelta(seconds=299)
        middle = store.create(KEY, make_pod("middle"), fields={}).version
        assert store.compact() < middle - 1
        clock.time += timedelta(seconds=2)
        assert store.compact() == middle - 1
        assert [c.entry.name for c in store.watch(KEY, resource_version=str(middle - 1)).take()] == ["middle"]
        assert [e.name for e in store.entries(KEY)] == ["middle", "old"]


def test_compaction_goes_in_small_steps(clock: FixedClock) -> None:
    with Store.open(None, clock=clock) as store:
        first = store.version
        for number in range(2500):
            store.create(KEY, make_pod(f"p{number}"), fields={})
        clock.time += timedelta(hours=1)
        assert store.compact() == first + 2000
        assert store.compact() == first + 2500
