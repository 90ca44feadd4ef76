"""Field managers: the golden table of writers, entries and times, and the laws of server-side apply."""

from __future__ import annotations

from typing import Any, ClassVar

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from patch_parts import SCHEMA, Managed, ids, table

from podbay.apiserver.patch.managed import FieldManager, Write, keep_times
from podbay.errors import ApiError


def _step(managed: Managed, step: dict[str, Any]) -> None:
    if step.get("untracked"):
        managed.update("nobody", step["body"])
        assert managed.live is not None
        del managed.live["metadata"]["managedFields"]
    elif "update" in step:
        managed.update(step["update"], step["body"], subresource=step.get("subresource", ""))
    else:
        managed.apply(
            step["apply"],
            step["body"],
            force=step.get("force", False),
            subresource=step.get("subresource", ""),
        )


@pytest.mark.parametrize("case", table("apply"), ids=ids)
def test_golden(case: dict[str, Any]) -> None:
    managed = Managed(case.get("kind", "ConfigMap"))
    for step in case["steps"]:
        if "conflict" not in step:
            _step(managed, step)
            continue
        before = orjson.dumps(managed.live)
        with pytest.raises(ApiError) as caught:
            _step(managed, step)
        assert caught.value.message == step["conflict"]
        assert caught.value.code == step.get("code", 409)
        assert orjson.dumps(managed.live) == before
    if "object" in case:
        want = managed.full(case["object"])
        assert managed.body() == want
    if "owners" in case:
        assert managed.owners() == case["owners"]
    if "containers" in case:
        assert [c["name"] for c in managed.body()["spec"]["containers"]] == case["containers"]


def test_conflict_causes() -> None:
    managed = Managed("ConfigMap")
    managed.update("a", {"data": {"k": "1"}})
    with pytest.raises(ApiError) as caught:
        managed.apply("b", {"data": {"k": "2"}})
    assert caught.value.status() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'Apply failed with 1 conflict: conflict with "a" using v1: .data.k',
        "reason": "Conflict",
        "details": {
            "causes": [
                {
                    "reason": "FieldManagerConflict",
                    "message": 'conflict with "a" using v1',
                    "field": ".data.k",
                }
            ]
        },
        "code": 409,
    }


def test_an_entry_on_the_wire() -> None:
    managed = Managed("Pod")
    managed.update("kubectl-run", {"spec": {"containers": [{"name": "c", "image": "i"}]}})
    assert managed.live is not None
    (entry,) = managed.live["metadata"]["managedFields"]
    assert orjson.dumps(entry) == orjson.dumps(
        {
            "manager": "kubectl-run",
            "operation": "Update",
            "apiVersion": "v1",
            "time": "2026-01-01T00:01:00Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"c"}': {".": {}, "f:image": {}, "f:name": {}, "f:resources": {}}
                    }
                }
            },
        }
    )


def test_order_and_times_of_entries() -> None:
    managed = Managed("ConfigMap")
    managed.update("z", {"data": {"k": "1"}})
    managed.apply("y", {"data": {"l": "1"}})
    managed.apply("x", {"data": {"m": "1"}})
    managed.update("a", {"data": {"k": "1", "l": "1", "m": "1", "n": "1"}})
    managed.apply("y", {"data": {"l": "1"}})  # nothing new: the time stays
    assert managed.live is not None
    seen = [
        (e["operation"], e["manager"], e["time"][14:16]) for e in managed.live["metadata"]["managedFields"]
    ]
    assert seen == [("Apply", "y", "02"), ("Apply", "x", "03"), ("Update", "z", "01"), ("Update", "a", "04")]


def test_sharing_a_field_without_changing_it_has_no_time() -> None:
    managed = Managed("ConfigMap")
    managed.apply("a", {"data": {"k": "1"}})
    live = managed.apply("b", {"data": {"k": "1"}})
    assert "time" not in next(e for e in live["metadata"]["managedFields"] if e["manager"] == "b")


def test_the_oldest_updaters_become_one() -> None:
    managed = Managed("ConfigMap")
    data: dict[str, str] = {}
    for i in range(12):
        data[f"k{i}"] = "1"
        managed.update(f"m{i}", {"data": data})
    owners = managed.owners()
    assert len(owners) == 10
    assert owners["ancient-changes/Update"] == [".data", ".data.k0", ".data.k1", ".data.k2"]
    assert managed.live is not None
    (ancient,) = (e for e in managed.live["metadata"]["managedFields"] if e["manager"] == "ancient-changes")
    assert ancient["time"] == "2026-01-01T00:03:00Z"


def test_a_manager_without_a_name() -> None:
    managed = Managed("ConfigMap")
    managed.update("", {"data": {"k": "1"}})
    assert managed.owners() == {"unknown/Update": [".data", ".data.k"]}


class TestManagedFieldsThatTheClientSends:
    FIELDS: ClassVar[dict[str, Any]] = {"f:data": {"f:k": {}}}

    def _managed(self, sent: Any, *, subresource: str = "") -> Managed:
        managed = Managed("ConfigMap")
        managed.update("a", {"data": {"k": "1"}})
        managed.update(
            "b", {"data": {"k": "1"}, "metadata": {"managedFields": sent}}, subresource=subresource
        )
        return managed

    def _entry(self, **more: Any) -> dict[str, Any]:
        base = {"manager": "m", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1"}
        return {**base, "fieldsV1": self.FIELDS, **more}

    def test_count(self) -> None:
        assert self._managed([self._entry()]).owners() == {"m/Apply": [".data.k"]}

    def test_come_into_canonical_form(self) -> None:
        fields: dict[str, Any] = {
            "f:metadata": {"f:ownerReferences": {'k:{ "uid" : "1" }': {"q:x": {}}}},
            "x:y": {},
        }
        managed = self._managed([self._entry(fieldsV1=fields)])
        assert managed.owners() == {"m/Apply": ['.metadata.ownerReferences[uid="1"]']}

    def test_do_not_count_through_a_subresource(self) -> None:
        assert list(self._managed([self._entry()], subresource="status").owners()) == ["a/Update"]

    @pytest.mark.parametrize(
        "wrong",
        [
            {"operation": "Frob"},
            {"apiVersion": ""},
            {"fieldsType": ""},
            {"fieldsType": "FieldsV2"},
            {"fieldsV1": {"f": {}}},
            {"fieldsV1": {"data": {}}},
            {"fieldsV1": {"k:{": {}}},
            {"fieldsV1": {"i:x": {}}},
            {"fieldsV1": {"f:data": 1}},
        ],
        ids=str,
    )
    def test_do_not_count_when_invalid(self, wrong: dict[str, Any]) -> None:
        assert list(self._managed([self._entry(**wrong)]).owners()) == ["a/Update"]

    def test_end_tracking_when_one_empty_entry(self) -> None:
        managed = self._managed([{}])
        assert managed.owners() == {}
        managed.update("c", {"data": {"k": "2"}})
        assert managed.owners() == {}

    def test_of_a_version_that_is_gone_are_dropped(self) -> None:
        managed = self._managed([self._entry(apiVersion="v1beta1"), self._entry(manager="n")])
        assert list(managed.owners()) == ["n/Apply"]


def test_times_alone_are_no_change() -> None:
    managed = Managed("ConfigMap")
    managed.apply("a", {"data": {"k": "1"}})
    old = orjson.loads(orjson.dumps(managed.live))
    new = orjson.loads(orjson.dumps(managed.live))
    new["metadata"]["managedFields"][0]["time"] = "2027-01-01T00:00:00Z"
    keep_times(new, old)
    assert new == old
    new["metadata"]["managedFields"][0]["time"] = "2027-01-01T00:00:00Z"
    new["data"]["k"] = "2"
    keep_times(new, old)
    assert new["metadata"]["managedFields"][0]["time"] == "2027-01-01T00:00:00Z"


def test_a_list_that_cannot_be_owned_item_by_item_ends_tracking() -> None:
    manager = FieldManager(SCHEMA)
    write = Write(manager="a", now="2026-01-01T00:00:00Z", api_version="v1")
    broken = {"metadata": {"finalizers": [None]}}
    tracked = manager.track(None, broken, type_name="io.k8s.api.core.v1.ConfigMap", write=write)
    assert "managedFields" not in tracked["metadata"]


_keys = st.sampled_from(["a", "b", "c"])
# Empty maps and lists can be owned, but Go does not store them, so they say something new each time.
_maps = st.dictionaries(_keys, st.sampled_from(["1", "2"]), min_size=1, max_size=3)
_containers: Any = st.lists(
    st.fixed_dictionaries(
        {"name": _keys},
        optional={
            "image": _keys,
            "args": st.lists(_keys, min_size=1, max_size=2),
            "ports": st.lists(
                st.fixed_dictionaries({"containerPort": st.integers(1, 3)}, optional={"name": _keys}),
                min_size=1,
                max_size=2,
                unique_by=lambda p: p["containerPort"],
            ),
        },
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda c: c["name"],
)
_bodies: Any = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {}, optional={"labels": _maps, "finalizers": st.lists(_keys, unique=True, min_size=1)}
        ),
        "spec": st.fixed_dictionaries({}, optional={"containers": _containers, "nodeSelector": _maps}),
    }
)
_managers = st.sampled_from(["m", "n", "o"])
_writes = st.lists(st.tuples(st.booleans(), _managers, _bodies), max_size=4)


def _run(managed: Managed, writes: list[tuple[bool, str, dict[str, Any]]]) -> None:
    for updates, manager, body in writes:
        if updates:
            managed.update(manager, body)
        else:
            managed.apply(manager, body, force=True)


@given(_writes, _managers, _bodies)
def test_applying_twice_is_applying_once(
    writes: list[tuple[bool, str, dict[str, Any]]], manager: str, body: dict[str, Any]
) -> None:
    managed = Managed("Pod")
    _run(managed, writes)
    managed.apply(manager, body, force=True)
    before = orjson.dumps(managed.live, option=orjson.OPT_SORT_KEYS)
    managed.apply(manager, body)
    assert orjson.dumps(managed.live, option=orjson.OPT_SORT_KEYS) == before


@given(_writes, _managers, _bodies)
def test_without_force_nobody_loses_a_field(
    writes: list[tuple[bool, str, dict[str, Any]]], manager: str, body: dict[str, Any]
) -> None:
    managed = Managed("Pod")
    _run(managed, writes)
    before = managed.owners() if managed.live is not None else {}
    try:
        managed.apply(manager, body)
    except ApiError as error:
        assert error.code == 409
        return
    after = managed.owners()
    mine = before.pop(f"{manager}/Apply", [])
    others = {path for owned in before.values() for path in owned}
    # A list item goes with its last owner, and with it whatever others had put inside.
    only_mine = tuple(path for path in mine if path.endswith("]") and path not in others)
    for owner, owned in before.items():
        for path in set(owned) - set(after.get(owner, ())):
            assert path.startswith(only_mine)


@given(_writes, _managers, _bodies)
def test_the_applied_values_are_in_the_object_and_owned(
    writes: list[tuple[bool, str, dict[str, Any]]], manager: str, body: dict[str, Any]
) -> None:
    managed = Managed("Pod")
    _run(managed, writes)
    live = managed.apply(manager, body, force=True)
    owned = managed.owners().get(f"{manager}/Apply", [])
    for key, value in body["metadata"].get("labels", {}).items():
        assert live["metadata"]["labels"][key] == value
        assert f".metadata.labels.{key}" in owned
    names = [c["name"] for c in live["spec"]["containers"] or ()]
    for container in body["spec"].get("containers", ()):
        assert container["name"] in names
        assert f'.spec.containers[name="{container["name"]}"]' in owned


@given(_writes)
def test_every_owned_list_item_exists(writes: list[tuple[bool, str, dict[str, Any]]]) -> None:
    managed = Managed("Pod")
    _run(managed, writes)
    if managed.live is None:
        return
    names = {c["name"] for c in managed.live["spec"]["containers"] or ()}
    for owned in managed.owners().values():
        for path in owned:
            if path.startswith(".spec.containers[name="):
                assert path.split('"')[1] in names
