"""The result of a task that has failed by itself: told if it is there, never waited for long, never the verdict."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from engine_parts import Cluster, Engine, frame, sidecar, task
from machine_world import World

from podbay.lifecycle import state as s
from podbay.lifecycle.ending import FAILED_PATIENCE
from podbay.lifecycle.plan import Rules

RESULT = b'{"rows": 12}'
BIG = b'{"rows": "' + b"x" * 5000 + b'"}'


def fails(namespace: str, **more: Any) -> Any:
    return task(namespace, **{"code": 3, "run": 0.2, "result": "sidecar", **more})


async def test_it_is_told_with_the_failure(started: Engine, cluster: Cluster) -> None:
    text = frame(RESULT)
    outcome, _ = await started.run(fails(cluster.namespace, script=sidecar(message=text, log=text)))
    plain, _ = await started.run(fails(cluster.namespace, result="none"))
    assert (outcome.kind, outcome.exit_code, outcome.result) == ("failed", 3, RESULT)
    assert outcome.json_result() == {"rows": 12}
    assert outcome.message == plain.message.replace(plain.pod, outcome.pod)
    # It came with the status.
    assert started.requests(outcome) == started.requests(plain)


async def test_a_larger_one_costs_one_request(started: Engine, cluster: Cluster) -> None:
    outcome, _ = await started.run(fails(cluster.namespace, script=sidecar(log=frame(BIG))))
    assert (outcome.kind, outcome.result) == ("failed", BIG)
    assert started.requests(outcome)["log"] == 3


async def test_by_termination_message(started: Engine, cluster: Cluster) -> None:
    plan = fails(cluster.namespace, result="termination_message", script={"message": '{"rows": 12}'})
    outcome, _ = await started.run(plan)
    assert (outcome.kind, outcome.result) == ("failed", RESULT)


@pytest.mark.parametrize(
    "text",
    [
        frame(b'{"rows": '),
        frame(b'{"a": 1}').replace("1}", "2}"),
        "podbay-result/1 too-large bytes=9000000 limit=4194304\n",
        "podbay-result/1 unreadable\n",
        "podbay-result/1 none\n",
    ],
)
async def test_one_that_is_none_changes_nothing(started: Engine, cluster: Cluster, text: str) -> None:
    outcome, _ = await started.run(fails(cluster.namespace, script=sidecar(message=text, log=text)))
    assert (outcome.kind, outcome.exit_code, outcome.result) == ("failed", 3, None)
    assert outcome.diagnosis is not None and outcome.diagnosis.category == "ExitCode"


async def test_a_sidecar_that_has_said_nothing_is_asked_once(started: Engine, cluster: Cluster) -> None:
    began = time.monotonic()
    outcome, _ = await started.run(fails(cluster.namespace, script=sidecar(log="something else")))
    assert (outcome.kind, outcome.result) == ("failed", None)
    assert started.requests(outcome)["log"] == 3
    assert time.monotonic() - began < FAILED_PATIENCE


async def test_what_others_ended_has_none(started: Engine, cluster: Cluster) -> None:
    text = frame(RESULT)
    life = started.start(
        fails(cluster.namespace, code=0, run="forever", script=sidecar(message=text, log=text))
    )
    await life.until("running")
    life.run.kill("Ada")
    outcome = await life.outcome()
    assert (outcome.kind, outcome.result) == ("killed", None)


async def test_the_next_life_has_it(started: Engine, cluster: Cluster) -> None:
    text = frame(RESULT)
    plan = fails(cluster.namespace, script=sidecar(message=text, log=text))
    life = started.start(plan)
    await life.until("running")
    checkpoint = await life.crash()
    while (pod := await cluster.pod(checkpoint.pod)) and pod["status"]["phase"] != "Failed":
        await asyncio.sleep(0.02)
    outcome, _ = await started.run(plan, checkpoint=checkpoint)
    assert (outcome.kind, outcome.result, outcome.uid) == ("failed", RESULT, checkpoint.uid)


# -- in a model of the cluster


def failed(*, step: int) -> World:
    """All is answered but what concerns the result; the pod has come so far."""
    world = World(Rules(result="sidecar"), exit_codes=[3])
    world.begin(with_checkpoint=True)
    for _ in range(50):
        others = [i for i, action in enumerate(world.todo) if not isinstance(action, s.ReadResult)]
        if others:
            world.answer(others[0])
        elif world.watched:
            world.tell()
        elif world.all_pods[0].step < step:
            world.go_on(world.all_pods[0])
    return world


def waits(world: World) -> None:
    while world.decided is None:
        world.pass_time(min(at for at in world.wakes if at > world.now))


def test_a_sidecar_that_does_not_end_is_not_waited_for_for_long() -> None:
    world = failed(step=4)
    assert world.outcome is None and not world.todo
    waits(world)
    assert world.now == FAILED_PATIENCE
    assert not any(isinstance(action, s.ReadResult) for action in world.todo)
    assert world.decided is not None and world.decided.kind == "failed"


def test_a_log_that_does_not_come_is_not_waited_for_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("machine_world.NONE_FRAME", "something else")
    world = failed(step=5)
    assert world.outcome is None and world.todo == [s.ReadResult(patient=False)]
    waits(world)
    assert world.now == FAILED_PATIENCE
    assert world.decided is not None and (world.decided.kind, world.decided.exit_code) == ("failed", 3)


def test_a_pod_without_a_sidecar_is_asked_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's mutation has taken it out."""
    monkeypatch.setattr("machine_world.SIDECAR_NAME", "other")
    world = failed(step=5)
    assert world.outcome is not None and world.now == 0
