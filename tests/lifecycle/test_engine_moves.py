"""Giving a pod up for want of room on a real API server: with a scheduler that is faster, and lives that end in between."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from engine_parts import Cluster, Engine, Notes, engine, task
from patience import eventually

from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.scripted import ScriptedNode, ScriptedNodes
from podbay.testing import Environment
from podbay.testing.requests import Requests

NO_ROOM: dict[str, Any] = {"node_selector": {"room": "none"}}


@pytest.fixture(scope="module")
def one_node() -> Iterator[Environment]:
    with Environment.start(
        ClusterOptions(nodes=(lambda: ScriptedNodes([ScriptedNode(name="node")]),))
    ) as found:
        yield found


@pytest.fixture
def place(one_node: Environment) -> Iterator[Cluster]:
    with Requests(one_node.kubeconfig) as api:
        namespace = f"n-{uuid.uuid4().hex[:8]}"
        api.create_namespace(namespace)
        yield Cluster(api, namespace)


@pytest.fixture
async def runs(one_node: Environment) -> AsyncIterator[Engine]:
    async with engine(one_node.kubeconfig) as found:
        yield found


async def had_node(place: Cluster, uid: str) -> bool:
    """As the cluster's events tell."""
    path = f"/api/v1/namespaces/{place.namespace}/events?fieldSelector=involvedObject.uid%3D{uid}"
    events = (await place.call("GET", path))["items"]
    return any(event["reason"] == "Scheduled" for event in events)


async def test_a_pod_that_finds_no_node_is_deleted_and_the_run_moves(place: Cluster, runs: Engine) -> None:
    outcome, notes = await runs.run(task(place.namespace, pod=NO_ROOM, overflow=0.3))
    assert outcome.kind == "moved"
    assert "no room for the pod" in outcome.message
    assert outcome.diagnosis is not None and outcome.diagnosis.category == "NodeSelectorMismatch"
    assert await place.pods() == []
    # Intent first, then the end; both are there for the next life.
    first, *later = [each.withdrawing for each in notes.saved]
    assert not first
    assert later and all(later)
    assert notes.saved[-1].outcome is not None
    assert runs.requests(outcome)["delete"] == 1


async def runs_here(place: Cluster) -> None:
    """Another pod, which takes the only place."""
    await place.create(task(place.namespace, run="forever").build(0))


async def test_a_quota_without_room_moves_the_run_before_there_is_a_pod(place: Cluster, runs: Engine) -> None:
    quota = {
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "1"}},
    }  # fmt: skip
    await runs_here(place)
    await place.call("POST", f"/api/v1/namespaces/{place.namespace}/resourcequotas", quota, expect=201)
    outcome, _ = await runs.run(task(place.namespace, overflow=0.3))
    assert (outcome.kind, outcome.pod) == ("moved", "")
    assert "quota" in outcome.message.lower()


async def test_a_pod_that_finds_its_node_in_time_stays(place: Cluster, runs: Engine) -> None:
    outcome, _ = await runs.run(task(place.namespace, run=1.0, overflow=0.3))
    assert outcome.kind == "succeeded"


async def test_a_user_who_ends_the_task_wins(place: Cluster, runs: Engine) -> None:
    life = runs.start(task(place.namespace, pod=NO_ROOM, overflow=60.0))
    await life.until("unschedulable")
    life.run.kill("a user")
    assert (await life.outcome()).kind == "killed"
    assert await place.pods() == []


async def test_whoever_is_first_the_scheduler_or_we_only_one_has_the_pod(
    place: Cluster, runs: Engine, one_node: Environment
) -> None:
    """The node opens and closes while pods give up: each ran here, or was never anywhere near a node."""
    path, headers = "/api/v1/nodes/node", {"Content-Type": "application/merge-patch+json"}

    async def open_node(unschedulable: bool) -> None:
        await place.call(
            "PATCH", path, {"spec": {"unschedulable": unschedulable}}, headers=headers, expect=200
        )

    await open_node(True)
    try:
        # The last ones have patience enough on any machine.
        patience = [0.4 + 0.1 * number for number in range(14)] + [300.0, 300.0]
        lives = [runs.start(task(place.namespace, overflow=each)) for each in patience]
        await eventually(lambda: any(life.task.done() for life in lives))
        await open_node(False)
        outcomes = [await life.outcome() for life in lives]
    finally:
        await open_node(False)
    kinds = [outcome.kind for outcome in outcomes]
    assert set(kinds) == {"moved", "succeeded"}, kinds
    for life, outcome in zip(lives, outcomes, strict=True):
        uid = next(each.uid for each in life.notes.saved if each.uid)
        assert await had_node(place, uid) == (outcome.kind == "succeeded"), outcome


@pytest.mark.parametrize("arrived", [True, False])
async def test_a_life_that_ends_while_it_gives_up_leaves_enough(
    place: Cluster, one_node: Environment, arrived: bool
) -> None:
    plan = task(place.namespace, pod=NO_ROOM, overflow=0.3)
    async with engine(one_node.kubeconfig) as first:
        lost = asyncio.Event()

        class Lost(Notes):
            async def save(self, checkpoint: Any) -> None:
                await super().save(checkpoint)
                if checkpoint.withdrawing:
                    lost.set()
                    # The process is gone before its request is, or after; what comes of it nobody hears.
                    await asyncio.Event().wait()

        life = first.start(plan, notes=Lost())
        await asyncio.wait_for(lost.wait(), 120)
        checkpoint = await life.crash()
    assert checkpoint.withdrawing
    if arrived:
        await place.delete(checkpoint.pod)
        await place.gone(checkpoint.pod)
    async with engine(one_node.kubeconfig) as second:
        outcome, _ = await second.run(plan, checkpoint=checkpoint)
    assert outcome.kind == "moved", outcome
    assert await place.pods() == []


async def test_a_pod_that_ran_while_nobody_looked_is_not_run_again_elsewhere(
    place: Cluster, one_node: Environment
) -> None:
    plan = task(place.namespace, overflow=60.0)
    async with engine(one_node.kubeconfig) as first:
        life = first.start(plan)
        await eventually(lambda: life.run.state.bound_at is not None)
        checkpoint = await life.crash()
    await place.delete(checkpoint.pod)
    await place.gone(checkpoint.pod)
    # As if it had been written down just before the node came.
    told = replace(checkpoint, withdrawing=True, last=None, deletion_seen=False)
    async with engine(one_node.kubeconfig) as second:
        outcome, _ = await second.run(plan, checkpoint=told)
    assert outcome.kind == "deleted"
