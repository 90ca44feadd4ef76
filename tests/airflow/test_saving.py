"""How often a task's checkpoint is written down, and what a next life then knows of its time."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from patience import PATIENCE

from podbay.airflow import saving
from podbay.airflow.building import Job
from podbay.airflow.calls import TaskKey
from podbay.airflow.carried import Carried
from podbay.airflow.driving import CHECKPOINT_KEY, TaskRun
from podbay.airflow.saving import is_worth_saving, seconds_between
from podbay.airflow.settings import Settings
from podbay.airflow.tasklog import TaskLog
from podbay.aws.place import AwsLogin
from podbay.kube.lease import desk
from podbay.kube.log_lines import Position
from podbay.lifecycle.checkpoint import Checkpoint
from podbay.lifecycle.outcome import Outcome
from podbay.testing import Environment

QUIET = Checkpoint(pod="p", uid="u", elapsed=100, spent={"queue": 3.0})


def later(seconds: float, **changes: Any) -> Checkpoint:
    return replace(QUIET, elapsed=QUIET.elapsed + seconds, **changes)


def test_lines_are_worth_it_at_once() -> None:
    told = later(1, positions={"base": Position.parse("0/5")})
    for counts in (False, True):
        assert is_worth_saving(QUIET, None, counts=counts, running=1)
        assert is_worth_saving(told, QUIET, counts=counts, running=1000)


def test_time_is_worth_it_now_and_then_where_nobody_else_counts_it() -> None:
    assert not is_worth_saving(later(59), QUIET, counts=True, running=1)
    assert is_worth_saving(later(60), QUIET, counts=True, running=1)
    assert not is_worth_saving(later(3600), QUIET, counts=False, running=1)
    # One a second of all tasks together.
    assert not is_worth_saving(later(299), QUIET, counts=True, running=300)
    assert is_worth_saving(later(300), QUIET, counts=True, running=300)


def test_the_clock_of_a_pod_that_waits_is_worth_it() -> None:
    waited = {"queue": 63.0}
    assert is_worth_saving(later(60, spent=waited), QUIET, counts=False, running=1)
    assert not is_worth_saving(later(30, spent=waited), QUIET, counts=False, running=1)


def test_a_run_without_a_pod_and_one_that_has_ended_are_the_engines() -> None:
    assert not is_worth_saving(replace(QUIET, uid=""), None, counts=True, running=1)
    ended = replace(QUIET, outcome=Outcome(kind="succeeded", message=""))
    assert not is_worth_saving(ended, None, counts=True, running=1)


def test_looks_are_rarer_with_many_tasks() -> None:
    assert [seconds_between(running) for running in (1, 25, 300)] == [5, 5, 60]


@pytest.mark.parametrize(
    ("carried", "counts"),
    [
        (Carried(parameters={}), False),
        (Carried(parameters={}, timeout=60), True),
        (Carried(parameters={}, timeout=60, deadline=1e9), False),
        (Carried(parameters={}, timeout=60, counted=True), False),
    ],
)
def test_who_counts_the_time_of_a_task(carried: Carried, counts: bool) -> None:
    assert carried.counts_itself is counts


class Airflow:
    """Knows one cluster, and how long the task has run at each of its checkpoints."""

    def __init__(self, kubeconfig: str) -> None:
        self._kubeconfig = kubeconfig
        self.elapsed: list[float] = []
        self.silent = asyncio.Event()

    async def extras(self, connection: str | None) -> Mapping[str, Any]:
        return {"kube_config_path": self._kubeconfig}

    async def aws_login(self, connection: str) -> AwsLogin:
        raise NotImplementedError

    async def push(self, key: TaskKey, name: str, value: Any) -> None:
        if name == CHECKPOINT_KEY:
            self.elapsed.append(value["state"]["elapsed"])
            if len(self.elapsed) == 4:
                self.silent.set()

    async def pull(self, key: TaskKey, task_id: str, name: str, map_index: int | None = None) -> Any:
        return None

    async def count(self, dag_id: str, **conditions: Sequence[str]) -> int:
        return 0


async def test_the_time_of_a_pod_that_says_nothing_is_not_forgotten(
    scripted: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "SAVE_SECONDS", 0.05)
    monkeypatch.setattr(saving, "CALLS_SHARE", 1000)
    monkeypatch.setattr(saving, "QUIET_SECONDS", 0.2)
    monkeypatch.setattr(saving, "QUIET_SHARE", 1000)
    airflow = Airflow(str(scripted.kubeconfig))
    job = Job(
        key=TaskKey(dag_id="dag", run_id="run", task_id="silent", map_index=-1, try_number=1),
        carried=Carried(parameters={}, timeout=3600),
        given={
            "namespace": "default",
            "image": "busybox",
            "annotations": {"scripted.podbay.dev/run-seconds": "600"},
        },
        owner=uuid.uuid4().hex,
        settings=Settings(deployment="tests"),
        airflow_version="3",
    )
    task = asyncio.create_task(TaskRun(job, airflow, TaskLog(lambda level, text: None)).run(remaining=3600))
    try:
        await asyncio.wait_for(airflow.silent.wait(), PATIENCE)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await desk().aclose()
    assert airflow.elapsed == sorted(airflow.elapsed)
    assert airflow.elapsed[-1] - airflow.elapsed[-2] >= 0.2
