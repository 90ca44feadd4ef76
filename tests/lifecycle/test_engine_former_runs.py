"""A pod that a former run of the same name has kept says nothing about this one; a restarted run still knows its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from engine_parts import Cluster, Engine, task
from machine_world import World, ends

from podbay.lifecycle.checkpoint import Checkpoint
from podbay.lifecycle.plan import PodPlan, Rules
from podbay.objects.meta import labels_of, uid_of


def kept(namespace: str, **more: Any) -> PodPlan:
    """Each call is a run of the same name, as if the one before had been deleted."""
    return task(namespace, task_id="same", keep="always", **more)


@pytest.mark.parametrize("code", [0, 1])
async def test_the_end_of_a_former_run_is_not_taken_for_this_ones(
    started: Engine, cluster: Cluster, code: int
) -> None:
    first, _ = await started.run(kept(cluster.namespace, code=code, log="first run"))
    second, notes = await started.run(kept(cluster.namespace, code=1 - code, log="second run"))
    assert (first.exit_code, second.exit_code) == (code, 1 - code)
    assert notes.log == ["second run"]
    assert second.incarnations == 1, "a former run's pod is none that this one has lost"
    third, notes = await started.run(kept(cluster.namespace, code=code, log="third run"))
    assert (third.exit_code, notes.log) == (code, ["third run"])
    # Whoever kept them still has them.
    pods = await cluster.pods()
    assert {uid_of(pod) for pod in pods} == {first.uid, second.uid, third.uid}
    assert all(labels_of(pod)["already_checked"] == "True" for pod in pods)


async def test_a_name_that_is_the_same_for_each_run_is_refused(started: Engine, cluster: Cluster) -> None:
    plan = kept(cluster.namespace, pod={"name": "exact", "exact_name": True})
    first, _ = await started.run(plan)
    second, _ = await started.run(plan)
    assert (first.pod, first.kind) == ("exact", "succeeded")
    assert second.kind == "refused"
    assert "exists already and belongs to try 1 of task dag.same, and was kept" in second.message


@pytest.mark.parametrize("decided", [True, False])
async def test_a_run_that_was_lost_after_it_had_kept_its_pod_ends_as_it_did(
    started: Engine, cluster: Cluster, decided: bool
) -> None:
    await started.run(kept(cluster.namespace, code=1))
    first, notes = await started.run(kept(cluster.namespace, log="once"))
    checkpoint = notes.saved[-1]
    assert checkpoint.outcome is not None
    if not decided:
        # As if the outcome had not been stored: of the pod no more is known than its name.
        checkpoint = Checkpoint(incarnation=checkpoint.incarnation, pod=checkpoint.pod, uid="unknown")
    again, _ = await started.run(kept(cluster.namespace, code=1), checkpoint=checkpoint)
    assert (again.kind, again.uid, again.incarnations) == ("succeeded", first.uid, 1)
    assert len(await cluster.pods()) == 2


async def test_a_known_pod_that_is_gone_is_not_mistaken_for_a_kept_one(
    started: Engine, cluster: Cluster
) -> None:
    first, _ = await started.run(kept(cluster.namespace))
    life = started.start(kept(cluster.namespace, run="forever"))
    await life.until("running")
    checkpoint = await life.crash()
    await cluster.delete(checkpoint.pod, gracePeriodSeconds=0)
    await cluster.gone(checkpoint.pod)
    outcome, _ = await started.run(kept(cluster.namespace), checkpoint=checkpoint)
    assert (outcome.kind, outcome.uid) == ("deleted", checkpoint.uid)
    assert [uid_of(pod) for pod in await cluster.pods()] == [first.uid]


async def test_a_replacement_passes_by_what_was_kept(started: Engine, cluster: Cluster) -> None:
    """The budget counts this run's pods alone."""
    await started.run(kept(cluster.namespace))
    life = started.start(
        kept(cluster.namespace, pod={"node_selector": {"later": "yes"}}, infrastructure_retries=1)
    )
    await life.until("unschedulable")
    status = {"status": {"phase": "Failed", "reason": "Evicted", "message": "no room"}}
    await cluster.patch(life.pod, status, "status")
    label = {"metadata": {"labels": {"later": "yes"}}}
    headers = {"Content-Type": "application/merge-patch+json"}
    await cluster.call("PATCH", "/api/v1/nodes/podbay", label, headers=headers, expect=200)
    outcome = await life.outcome()
    assert (outcome.kind, outcome.incarnations) == ("succeeded", 2)


# -- single courses, in a model of the cluster


@pytest.mark.parametrize("behind", [True, False])
@pytest.mark.parametrize("kept_ones", [(0,), (0, 1), (1,)])
def test_the_watch_may_not_know_them_yet(behind: bool, kept_ones: tuple[int, ...]) -> None:
    world = World(Rules(keep="always"), exit_codes=[1])
    former = [world.left(number, 0) for number in kept_ones]
    world.begin(with_checkpoint=True, behind=behind)
    assert ends(world) == "failed"
    assert len(world.all_pods) == 1
    assert all(pod.deleted_at is None for pod in former)
    assert world.outcome is not None and world.outcome.incarnations == 1


@pytest.mark.parametrize("trouble", ["lost after", "lost before"])
def test_a_create_in_doubt_is_looked_for_beyond_them(trouble: str) -> None:
    world = World(Rules(), exit_codes=[0])
    world.left(0, 0)
    world.begin(with_checkpoint=True)
    world.answer(0, trouble)
    world.ask()
    assert ends(world) == "killed"
    assert not [pod for pod in world.pods.values() if not pod.former and pod.deleted_at is None]


def test_whoever_ends_a_run_at_its_beginning_looks_beyond_them() -> None:
    """An earlier life has made its pod after them, and the watch of this one is behind."""
    world = World(Rules(), exit_codes=[0])
    world.left(0, 0)
    world.begin(with_checkpoint=True)
    world.answer(0)
    world.begin(with_checkpoint=False, behind=True)
    world.ask()
    world.answer(0, "quota")
    assert ends(world) == "killed"
    own = world.all_pods[0]
    assert own.deleted_at is not None
    assert len(world.all_pods) == 1


def test_one_that_was_left_running_is_left_alone() -> None:
    """By a kill of on_kill_action=keep_pod: its task is over."""
    world = World(Rules(), exit_codes=[0])
    former = world.left(0, 0, step=3)
    world.begin(with_checkpoint=True)
    assert ends(world) == "succeeded"
    assert former.deleted_at is None


def test_a_name_that_cannot_change_ends_the_run() -> None:
    world = World(replace(Rules(), replaceable=False), exit_codes=[0])
    world.left(0, 0)
    world.begin(with_checkpoint=True)
    assert ends(world) == "refused"
    world = World(replace(Rules(), replaceable=False), exit_codes=[0])
    world.left(0, 0)
    world.begin(with_checkpoint=True, behind=True)
    world.ask()
    assert ends(world) in ("killed", "refused")
