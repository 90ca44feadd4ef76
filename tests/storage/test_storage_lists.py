"""Lists: order, versions, pages, and the refusals of kube-apiserver."""

from __future__ import annotations

import pytest
from storage_builders import KEY, labelled, make_pod

from podbay.apiserver.storage import Page, Store
from podbay.errors import ApiError


def _fill(store: Store, *names: str, namespace: str = "default") -> None:
    for name in names:
        store.create(KEY, make_pod(name, namespace, app=name), fields={})


def _names(page: Page) -> list[str]:
    return [entry.name for entry in page.entries]


def test_order_is_that_of_the_bytes_of_namespace_slash_name(store: Store) -> None:
    for namespace in ("a", "a-b", "a.b", "b", "a0"):
        _fill(store, "z", "a-b", "a", "a.b", namespace=namespace)
    page = store.list(KEY)
    keys = [f"{e.namespace}/{e.name}" for e in page.entries]
    assert keys == sorted(keys, key=str.encode)
    assert _names(store.list(KEY, "a-b")) == ["a", "a-b", "a.b", "z"]


def test_pages_show_the_state_of_the_first(store: Store) -> None:
    _fill(store, "a", "b", "c", "d", "e")
    first = store.list(KEY, "default", limit=2)
    assert (_names(first), first.remaining) == (["a", "b"], 3)
    store.delete(KEY, "default", "c")
    _fill(store, "bb")
    second = store.list(KEY, "default", limit=2, continue_token=first.continue_token)
    assert (_names(second), second.remaining, second.version) == (["c", "d"], 1, first.version)
    third = store.list(KEY, "default", limit=2, continue_token=second.continue_token)
    assert (_names(third), third.remaining, third.continue_token) == (["e"], None, "")
    assert third.version == first.version
    assert _names(store.list(KEY, "default")) == ["a", "b", "bb", "d", "e"]


def test_what_remains_is_not_counted_with_a_selector(store: Store) -> None:
    _fill(store, "a", "b", "c")
    page = store.list(KEY, predicate=lambda labels, fields: True, limit=1)
    assert page.continue_token
    assert page.remaining is None


def test_a_full_last_page_has_no_token(store: Store) -> None:
    _fill(store, "a", "b")
    assert store.list(KEY, limit=2).continue_token == ""


def test_pages_run_over_namespaces_and_cluster_scoped_objects(store: Store) -> None:
    for namespace in ("n", "n-x", "m"):
        _fill(store, "a", "b", namespace=namespace)
    for name in ("n1", "n2", "n3"):
        store.create("nodes", make_pod(name, ""), fields={})
    for key, expected in ((KEY, ["a", "b"] * 3), ("nodes", ["n1", "n2", "n3"])):
        names, token = [], ""
        while True:
            page = store.list(key, limit=1, continue_token=token)
            names += _names(page)
            token = page.continue_token
            if not token:
                break
        assert names == expected


def test_a_selector_sees_labels_and_fields(store: Store) -> None:
    _fill(store, "a", "b")
    store.create(KEY, make_pod("c"), fields={"status.phase": "Running"})
    assert _names(store.list(KEY, predicate=labelled("app", "b"))) == ["b"]
    running = store.list(KEY, predicate=lambda labels, fields: fields.get("status.phase") == "Running")
    assert _names(running) == ["c"]
    named = store.list(KEY, predicate=lambda labels, fields: fields["metadata.name"] == "a")
    assert _names(named) == ["a"]


def test_a_list_that_names_its_object(store: Store) -> None:
    _fill(store, "a", "b")
    _fill(store, "a", namespace="other")
    assert _names(store.list(KEY, "default", name="a")) == ["a"]
    assert [e.namespace for e in store.list(KEY, name="a").entries] == ["default", "other"]
    assert _names(store.list(KEY, "default", name="x")) == []
    assert _names(store.list(KEY, "default", name="a", predicate=labelled("app", "b"))) == []
    version = str(store.version)
    store.delete(KEY, "default", "a")
    past = store.list(KEY, "default", name="a", resource_version=version, resource_version_match="Exact")
    assert _names(past) == ["a"]


def test_exact_gives_the_past(store: Store) -> None:
    _fill(store, "a")
    version = store.version
    store.update(KEY, make_pod("a", value=2), fields={})
    _fill(store, "b")
    page = store.list(KEY, resource_version=str(version), resource_version_match="Exact")
    assert page.version == version
    assert [e.version for e in page.entries] == [version]
    assert page.entries[0].object()["spec"] == {"value": None}
    # Reading the past leaves the present alone.
    assert _names(store.list(KEY)) == ["a", "b"]


def test_a_limit_makes_a_version_exact(store: Store) -> None:
    """The rule from before resourceVersionMatch existed."""
    _fill(store, "a")
    version = str(store.version)
    _fill(store, "b")
    assert _names(store.list(KEY, resource_version=version)) == ["a", "b"]
    assert _names(store.list(KEY, resource_version=version, limit=5)) == ["a"]
    newer = store.list(KEY, resource_version=version, resource_version_match="NotOlderThan", limit=5)
    assert _names(newer) == ["a", "b"]


def test_version_zero_does_not_page(store: Store) -> None:
    _fill(store, "a", "b", "c")
    page = store.list(KEY, resource_version="0", limit=1)
    assert (_names(page), page.continue_token) == (["a", "b", "c"], "")


def test_an_empty_resource(store: Store) -> None:
    page = store.list("leases.coordination.k8s.io", "default", limit=3)
    assert (page.entries, page.version, page.continue_token) == ([], store.version, "")


def test_version_one_is_too_old_as_recorded(store: Store) -> None:
    with pytest.raises(ApiError) as caught:
        store.list(KEY, "default", resource_version="1", resource_version_match="Exact")
    assert caught.value.status() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "The resourceVersion for the provided list is too old.",
        "reason": "Expired",
        "code": 410,
    }
    # Any newer version will do here, so nothing is too old.
    assert store.list(KEY, resource_version="1").version == store.version


def test_a_malformed_version_as_recorded(store: Store) -> None:
    with pytest.raises(ApiError) as caught:
        store.list(KEY, "default", resource_version="x")
    assert (caught.value.code, caught.value.reason) == (400, "BadRequest")
    assert caught.value.message == (
        'invalid resource version: resourceVersion: Invalid value: "x": '
        'strconv.ParseUint: parsing "x": invalid syntax'
    )


@pytest.mark.parametrize("match", ["", "Exact", "NotOlderThan"])
def test_a_version_in_the_future(store: Store, match: str) -> None:
    wanted = store.version + 5
    with pytest.raises(ApiError) as caught:
        store.list(KEY, resource_version=str(wanted), resource_version_match=match)
    assert (caught.value.code, caught.value.retry_after_seconds) == (504, 1)
    assert caught.value.message == f"Timeout: Too large resource version: {wanted}, current: {store.version}"


def test_an_expired_token_offers_the_rest_as_it_is_now(store: Store) -> None:
    _fill(store, "a", "b", "c", "d")
    first = store.list(KEY, limit=2)
    store.delete(KEY, "default", "c")
    _fill(store, "cc")
    store.compact(store.version)
    with pytest.raises(ApiError) as caught:
        store.list(KEY, limit=2, continue_token=first.continue_token)
    error = caught.value
    assert (error.code, error.reason) == (410, "Expired")
    assert error.message == (
        "The provided continue parameter is too old to display a consistent list result. You can start a new "
        "list without the continue parameter, or use the continue token in this response to retrieve the "
        "remainder of the results. Continuing with the provided token results in an inconsistent list - objects "
        "that were created, modified, or deleted between the time the first chunk was returned and now may show "
        "up in the list."
    )
    assert error.status()["metadata"] == {"continue": error.continue_token}
    rest = store.list(KEY, limit=2, continue_token=error.continue_token)
    assert (_names(rest), rest.version) == (["cc", "d"], store.version)


def test_a_version_and_a_token_exclude_each_other(store: Store) -> None:
    _fill(store, "a", "b")
    token = store.list(KEY, limit=1).continue_token
    with pytest.raises(ApiError) as caught:
        store.list(KEY, limit=1, continue_token=token, resource_version="200")
    assert caught.value.message == "specifying resource version is not allowed when using continue"
    assert _names(store.list(KEY, continue_token=token, resource_version="0")) == ["b"]
