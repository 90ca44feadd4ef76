"""Upstream's KubernetesPodOperator, synchronous and deferrable, with real containers."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from airflow_api import AirflowApi, Run
from airflow_home import AirflowHome
from deferral import open_gates
from pods_of_tasks import lines_of, pods_of, wait_for_pod

from podbay.testing import Environment
from podbay.testing.requests import Requests

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("containers")]
NAMESPACE = "containers"


@pytest.fixture(scope="module")
def objects(cluster: Environment) -> None:
    """The Secret and the ConfigMap that a task reads."""
    with Requests(cluster.kubeconfig) as kube:
        for resource, kind, name, data in (
            ("secrets", "Secret", "keys", {"token": base64.b64encode(b"open sesame").decode()}),
            ("configmaps", "ConfigMap", "colours", {"COLOUR": "green"}),
        ):
            body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "data": data}
            status, answer = kube.call("POST", f"/api/v1/namespaces/{NAMESPACE}/{resource}", body)
            assert status == 201, answer


@pytest.fixture(scope="module", params=["sync", "deferrable"])
def run(
    request: pytest.FixtureRequest,
    objects: None,
    airflow: AirflowApi,
    airflow_home: AirflowHome,
    kube: Requests,
) -> Run:
    """All tasks at once; each test looks at one."""
    run = airflow.trigger(f"containers_{request.param}")
    if request.param == "deferrable":
        open_gates(run, kube, NAMESPACE, airflow_home.log("scheduler"))
    return run


def pods(kube: Requests, run: Run, task: str) -> list[dict[str, Any]]:
    return pods_of(kube, NAMESPACE, run, task)


def test_output_becomes_the_log_of_the_task(run: Run, kube: Requests) -> None:
    task = run.task("succeeds")
    assert task.state == "success", task.log
    assert {"first line", "second line"} <= set(lines_of(task, "base"))
    (pod,) = pods(kube, run, "succeeds")
    assert pod["status"]["phase"] == "Succeeded"


def test_an_exit_code_fails_the_task_and_is_told(run: Run, kube: Requests) -> None:
    task = run.task("fails")
    assert task.state == "failed", task.log
    assert "about to fail" in lines_of(task, "base")
    assert "'exit_code': 3" in task.log
    (pod,) = pods(kube, run, "fails")
    assert pod["status"]["phase"] == "Failed"


def test_running_out_of_memory_is_told(run: Run, kube: Requests) -> None:
    task = run.task("runs-out-of-memory")
    assert task.state == "failed", task.log
    assert "OOMKilled" in task.log
    assert pods(kube, run, "runs-out-of-memory") == []


def test_an_image_that_cannot_be_pulled_fails_the_task(run: Run, kube: Requests) -> None:
    task = run.task("no-such-image")
    assert task.state == "failed", task.log
    assert "ErrImagePull" in task.log
    assert pods(kube, run, "no-such-image") == []


def test_results_come_out_through_the_sidecar(run: Run, kube: Requests) -> None:
    task = run.task("returns")
    assert task.state == "success", task.log
    assert task.result == {"answer": [42, "ü"]}
    assert "Failed to kill xcom sidecar" not in task.log
    wait_for_pod(kube, NAMESPACE, run, "returns", phase=None)


def test_large_results_come_out_whole(run: Run) -> None:
    task = run.task("returns-much")
    assert task.state == "success", task.log
    assert task.result == "123456789" * 60_000


def test_a_task_may_return_nothing(run: Run) -> None:
    task = run.task("returns-nothing")
    assert task.state == "success", task.log
    assert task.result is None


def test_init_containers_prepare_volumes_and_their_logs_are_read(run: Run) -> None:
    task = run.task("prepared")
    assert task.state == "success", task.log
    if run.dag_id.endswith("sync"):  # the deferrable operator reads only what the task itself writes
        assert "preparing" in lines_of(task, "prepare")
    assert "by init" in lines_of(task, "base")


def test_secrets_and_config_maps_arrive(run: Run) -> None:
    task = run.task("configured")
    assert task.state == "success", task.log
    assert f"open sesame green plain {NAMESPACE}" in lines_of(task, "base")
    assert "open sesame" in lines_of(task, "base")
    assert "1000" in lines_of(task, "base")


def test_a_task_stopped_by_a_person_stops_its_pod(run: Run, kube: Requests) -> None:
    wait_for_pod(kube, NAMESPACE, run, "runs-long", phase="Running")
    run.mark("runs-long", "failed")
    wait_for_pod(kube, NAMESPACE, run, "runs-long", phase=None)


def test_a_pod_deleted_under_a_task_fails_it(run: Run, kube: Requests) -> None:
    pod = wait_for_pod(kube, NAMESPACE, run, "is-deleted", phase="Running")
    status, answer = kube.call("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}")
    assert status == 200, answer
    task = run.task("is-deleted")
    assert task.state == "failed", task.log
