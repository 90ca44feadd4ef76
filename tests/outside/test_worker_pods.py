"""Airflow's KubernetesExecutor: its worker pods are containers on the embedded cluster."""

from __future__ import annotations

import pytest
from airflow_api import AirflowApi, Run
from pods_of_tasks import pods_of, wait_for_pod

from podbay.testing.requests import Requests

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("containers")]
NAMESPACE = "workers"


@pytest.fixture(scope="module")
def run(airflow: AirflowApi) -> Run:
    return airflow.trigger("worker_pods")


def test_tasks_succeed_one_after_the_other_and_their_pods_go(run: Run, kube: Requests) -> None:
    first, second = run.task("first"), run.task("second")
    assert first.state == "success", first.log
    assert second.state == "success", second.log
    assert second.result == f"{first.result} again"
    for task in ("first", "second"):
        wait_for_pod(kube, NAMESPACE, run, task, phase=None)


def test_an_exception_fails_the_task(run: Run, kube: Requests) -> None:
    task = run.task("fails")
    assert task.state == "failed", task.log
    assert "on purpose" in task.log
    wait_for_pod(kube, NAMESPACE, run, "fails", phase=None)


def test_a_killed_worker_pod_is_noticed(run: Run, kube: Requests) -> None:
    run.wait_for("waits", {"running"})
    (pod,) = pods_of(kube, NAMESPACE, run, "waits")
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}"
    status, answer = kube.call("DELETE", path, {"gracePeriodSeconds": 0})
    assert status == 200, answer
    task = run.task("waits")
    assert task.state == "failed", task.log
