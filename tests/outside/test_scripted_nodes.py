"""Upstream's KubernetesPodOperator, synchronous and deferrable, on nodes whose pods live by a script."""

from __future__ import annotations

from typing import Any

import pytest
from airflow_api import AirflowApi, Run
from airflow_home import AirflowHome
from deferral import open_gates
from pods_of_tasks import lines_of, pods_of

from podbay.testing.requests import Requests

NAMESPACE = "scripted"


@pytest.fixture(scope="module", params=["sync", "deferrable"])
def run(
    request: pytest.FixtureRequest, airflow: AirflowApi, airflow_home: AirflowHome, kube: Requests
) -> Run:
    """All tasks at once; each test looks at one."""
    run = airflow.trigger(f"scripted_{request.param}")
    if request.param == "deferrable":
        open_gates(run, kube, NAMESPACE, airflow_home.log("scheduler"))
    return run


def pods(kube: Requests, run: Run, task: str) -> list[dict[str, Any]]:
    return pods_of(kube, NAMESPACE, run, task)


def test_logs_of_a_pod_become_the_log_of_its_task(run: Run, kube: Requests) -> None:
    task = run.task("succeeds")
    assert task.state == "success", task.log
    assert "first line" in lines_of(task, "base")
    assert "second line" in lines_of(task, "base")
    (pod,) = pods(kube, run, "succeeds")
    assert pod["status"]["phase"] == "Succeeded"


def test_an_exit_code_fails_the_task_and_is_told(run: Run, kube: Requests) -> None:
    task = run.task("fails")
    assert task.state == "failed", task.log
    assert "about to fail" in lines_of(task, "base")
    assert "'exit_code': 3" in task.log
    (pod,) = pods(kube, run, "fails")
    assert pod["status"]["phase"] == "Failed"


@pytest.mark.parametrize(
    ("task_id", "state", "kept"),
    [("deletes", "success", 0), ("deletes-failed", "failed", 0), ("keeps-failed", "failed", 1)],
)
def test_pods_are_deleted_or_kept_as_asked(
    run: Run, kube: Requests, task_id: str, state: str, kept: int
) -> None:
    task = run.task(task_id)
    assert task.state == state, task.log
    assert len(pods(kube, run, task_id)) == kept


def test_an_exit_code_can_mean_skipped(run: Run) -> None:
    task = run.task("skips")
    assert task.state == "skipped", task.log


def test_logs_are_left_alone_when_not_wanted(run: Run) -> None:
    task = run.task("silent")
    assert task.state == "success", task.log
    assert "unread line" not in task.log


def test_the_reason_of_a_killed_container_is_told(run: Run) -> None:
    task = run.task("killed")
    assert task.state == "failed", task.log
    assert "OOMKilled" in task.log


def test_a_pod_that_cannot_pull_its_image_fails_the_task(run: Run, kube: Requests) -> None:
    task = run.task("no-image")
    assert task.state == "failed", task.log
    assert "ErrImagePull" in task.log
    assert pods(kube, run, "no-image") == []
