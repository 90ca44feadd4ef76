"""What a task whose time is limited tells Airflow and takes along when a worker hands it to the triggerer."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import TaskDeferred

from podbay import KubernetesPodOperator
from podbay.airflow import task as task_module
from podbay.airflow.carried import Carried
from podbay.airflow.settings import Settings
from podbay.airflow.triggers import AGAIN, PodTrigger

LIMIT = timedelta(minutes=10)
BEGAN = 30.0
"""Seconds that the worker has had the task for, or before it waited."""


def pod_task(**given: Any) -> KubernetesPodOperator:
    with DAG("d"):
        return KubernetesPodOperator(task_id="t", image="i", execution_timeout=LIMIT, **given)


def handed_over(task: KubernetesPodOperator, *, again: bool = False) -> tuple[Carried, timedelta | None]:
    began = datetime.fromtimestamp(time.time() - BEGAN, UTC)
    context: Any = {"ti": SimpleNamespace(start_date=began, try_number=1)}
    with pytest.raises(TaskDeferred) as found:
        task.finish(context, AGAIN) if again else task.execute(context)
    trigger = found.value.trigger
    assert isinstance(trigger, PodTrigger)
    return Carried.from_text(trigger._arguments["spec"]), found.value.timeout


def test_time_that_a_task_waits_for_its_turn_counts_for_nobody() -> None:
    """The scheduler must not fail a task whose pod has had no room yet."""
    carried, timeout = handed_over(pod_task())
    assert carried.limits == {"max_active_tasks": 16}
    assert (carried.deadline, timeout) == (None, None)
    assert carried.timeout == LIMIT.total_seconds()
    assert carried.used == pytest.approx(BEGAN, abs=5)


def test_a_task_that_is_handed_over_again_may_have_waited_since_it_began() -> None:
    carried, timeout = handed_over(pod_task(), again=True)
    assert (carried.deadline, carried.used, timeout) == (None, 0.0, None)


def test_a_task_that_never_waits_has_a_deadline_and_a_minute_of_grace() -> None:
    carried, timeout = handed_over(pod_task(deferrable=True))
    assert carried.limits is None
    assert carried.deadline == pytest.approx(time.time() + LIMIT.total_seconds() - BEGAN, abs=5)
    assert timeout is not None
    assert timeout.total_seconds() == pytest.approx(LIMIT.total_seconds() - BEGAN + 60, abs=5)
    assert carried.used == 0.0


def test_a_limit_for_the_triggerer_makes_tasks_wait_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_module, "_settings", Settings(max_running_pods=2))
    carried, timeout = handed_over(pod_task(deferrable=True))
    assert (carried.deadline, timeout) == (None, None)
    start = pod_task(deferrable=True).start_trigger_args
    assert start is not None and start.timeout is not None and start.timeout > timedelta(days=300)
    assert not Carried.from_text((start.trigger_kwargs or {})["spec"]).counted
