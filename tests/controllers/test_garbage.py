from __future__ import annotations

from typing import Any

import pytest
from control_plane import CONFIG_MAPS, NODES, PODS, Plane, control_plane

from podbay.embedded.controllers.ownership import Graph, OwnerState, Verdict, judge
from podbay.objects.meta import Object
from podbay.objects.resource import GVR

SOLID, DANGLING, WAITING = OwnerState.SOLID, OwnerState.DANGLING, OwnerState.WAITING


def reference(owner: Object, *, block: bool = False) -> Object:
    kind = {"configmaps": "ConfigMap"}.get(owner.get("kind", ""), owner["kind"])
    found = {"apiVersion": owner["apiVersion"], "kind": kind, "name": owner["metadata"]["name"]}
    return {**found, "uid": owner["metadata"]["uid"], **({"blockOwnerDeletion": True} if block else {})}


async def config_map(plane: Plane, name: str, *owners: Object, **metadata: Any) -> Object:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}}
    if owners:
        body["metadata"]["ownerReferences"] = list(owners)
    return await plane.api.create(CONFIG_MAPS, body, namespace="default")


@pytest.mark.parametrize(
    ("states", "dependents", "waiting", "verdict"),
    [
        ([SOLID], True, False, Verdict.KEEP),
        ([SOLID, DANGLING], False, False, Verdict.DROP_REFERENCES),
        ([SOLID, WAITING], False, False, Verdict.DROP_REFERENCES),
        ([DANGLING], True, False, Verdict.DELETE),
        ([WAITING], False, False, Verdict.DELETE),
        ([WAITING, DANGLING], True, False, Verdict.DELETE_FOREGROUND),
        ([WAITING], True, True, Verdict.DELETE),
    ],
)
def test_what_becomes_of_a_dependent(
    states: list[OwnerState], dependents: bool, waiting: bool, verdict: Verdict
) -> None:
    assert judge(states, has_dependents=dependents, dependents_wait=waiting) is verdict


def test_the_graph_names_only_what_needs_a_look() -> None:
    graph, things = Graph(), GVR("", "v1", "configmaps")

    def obj(uid: str, *owners: str) -> Object:
        references = [{"uid": o, "name": o, "kind": "ConfigMap", "apiVersion": "v1"} for o in owners]
        return {"metadata": {"uid": uid, "name": uid, "namespace": "d", "ownerReferences": references}}

    assert graph.put(things, obj("a")) == []
    assert graph.put(things, obj("b", "a")) == []
    assert graph.put(things, obj("c", "unknown")) == ["c"]
    assert graph.put(things, obj("b", "a")) == []
    assert graph.remove("a") == ["b"]
    assert graph.remove("b") == []
    assert graph.remove("c") == []
    assert graph.vertices == {}


async def test_dependents_follow_in_the_background() -> None:
    async with control_plane() as plane:
        owner = await config_map(plane, "owner")
        child = await config_map(plane, "child", reference(owner))
        await config_map(plane, "grandchild", reference(child))
        await config_map(plane, "stranger")
        await plane.clock.settle()
        await plane.api.delete(CONFIG_MAPS, "owner", namespace="default")
        await plane.gone(CONFIG_MAPS, "grandchild")
        assert await plane.find(CONFIG_MAPS, "child") is None
        assert await plane.find(CONFIG_MAPS, "stranger")


async def test_orphans_stay_and_lose_their_reference() -> None:
    async with control_plane() as plane:
        owner = await config_map(plane, "owner")
        await config_map(plane, "child", reference(owner))
        await plane.clock.settle()
        options = {"propagationPolicy": "Orphan"}
        await plane.api.delete(CONFIG_MAPS, "owner", namespace="default", options=options)
        await plane.gone(CONFIG_MAPS, "owner")
        child = await plane.find(CONFIG_MAPS, "child")
        assert child is not None
        assert "ownerReferences" not in child["metadata"]


async def test_foreground_waits_for_those_that_block() -> None:
    async with control_plane() as plane:
        owner = await config_map(plane, "owner")
        await config_map(plane, "blocks", reference(owner, block=True), finalizers=["x.dev/a"])
        await config_map(plane, "follows", reference(owner))
        await plane.clock.settle()
        options = {"propagationPolicy": "Foreground"}
        await plane.api.delete(CONFIG_MAPS, "owner", namespace="default", options=options)
        await plane.clock.advance(1)
        waiting = await plane.find(CONFIG_MAPS, "owner")
        assert waiting is not None
        assert waiting["metadata"]["finalizers"] == ["foregroundDeletion"]
        blocked = await plane.find(CONFIG_MAPS, "blocks")
        assert blocked is not None
        assert blocked["metadata"]["deletionTimestamp"]
        await plane.api.patch(CONFIG_MAPS, "blocks", {"metadata": {"finalizers": None}}, namespace="default")
        await plane.gone(CONFIG_MAPS, "owner")
        await plane.gone(CONFIG_MAPS, "follows")


async def test_an_owner_that_never_was_takes_its_dependent_along() -> None:
    async with control_plane() as plane:
        ghost = {"apiVersion": "v1", "kind": "ConfigMap", "name": "ghost", "uid": "no-such-uid"}
        await config_map(plane, "child", ghost)
        await plane.gone(CONFIG_MAPS, "child")


async def test_a_namesake_with_another_uid_is_no_owner() -> None:
    async with control_plane() as plane:
        owner = await config_map(plane, "owner")
        await config_map(plane, "child", {**reference(owner), "uid": "earlier-owner"})
        await plane.gone(CONFIG_MAPS, "child")
        assert await plane.find(CONFIG_MAPS, "owner")


async def test_one_of_two_owners_is_enough() -> None:
    async with control_plane() as plane:
        first, second = await config_map(plane, "first"), await config_map(plane, "second")
        await config_map(plane, "child", reference(first), reference(second))
        await plane.clock.settle()
        await plane.api.delete(CONFIG_MAPS, "first", namespace="default")
        await plane.clock.advance(1)
        child = await plane.find(CONFIG_MAPS, "child")
        assert child is not None
        assert [r["name"] for r in child["metadata"]["ownerReferences"]] == ["second"]


async def test_unknown_kinds_of_owner_prove_nothing() -> None:
    async with control_plane() as plane:
        job = {"apiVersion": "example.dev/v1", "kind": "Widget", "name": "w", "uid": "some-uid"}
        await config_map(plane, "child", job)
        await plane.clock.advance(5)
        assert await plane.find(CONFIG_MAPS, "child")


async def test_a_cluster_scoped_owner() -> None:
    async with control_plane() as plane:
        node = await plane.api.get(NODES, "n1")
        await config_map(plane, "child", reference({"apiVersion": "v1", "kind": "Node", **node}))
        await plane.clock.advance(1)
        assert await plane.find(CONFIG_MAPS, "child")
        await plane.api.delete(NODES, "n1")
        await plane.gone(CONFIG_MAPS, "child")


async def test_pods_of_a_deleted_owner_end_gracefully() -> None:
    async with control_plane() as plane:
        owner = await config_map(plane, "owner")
        annotations = {"scripted.podbay.dev/stop-seconds": "3"}
        await plane.run_pod("p", owners=[reference(owner)], annotations=annotations)
        await plane.phase("p", "Running")
        await plane.api.delete(CONFIG_MAPS, "owner", namespace="default")
        await plane.clock.advance(1)
        pod = await plane.find(PODS, "p")
        assert pod is not None
        assert pod["metadata"]["deletionTimestamp"]
        await plane.gone(PODS, "p")
