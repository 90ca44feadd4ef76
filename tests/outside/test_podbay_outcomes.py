"""Our operator on nodes whose pods live by a script, in the triggerer and on workers: the same outcomes."""

from __future__ import annotations

import time
from typing import Any

import pytest
from airflow_api import AirflowApi, Run
from pods_of_tasks import lines_of, pods_of, wait_for_pod

from podbay.testing.requests import Requests

NAMESPACE = "scripted"


@pytest.fixture(scope="module", params=["triggerer", "worker"])
def run(request: pytest.FixtureRequest, airflow: AirflowApi, kube: Requests) -> Run:
    """All tasks at once; each test looks at one."""
    return airflow.trigger(f"podbay_outcomes_{request.param}")


def pods(kube: Requests, run: Run, task: str) -> list[dict[str, Any]]:
    return pods_of(kube, NAMESPACE, run, task)


def test_logs_of_a_pod_become_the_log_of_its_task(run: Run, kube: Requests) -> None:
    task = run.task("succeeds")
    assert task.state == "success", task.log
    assert lines_of(task, "base") == ["first line", "second line"]
    (pod,) = pods(kube, run, "succeeds")
    assert pod["status"]["phase"] == "Succeeded"
    assert pod["metadata"]["labels"]["already_checked"] == "True"
    place = (
        "Runs in the triggerer: it needs"
        if run.dag_id.endswith("triggerer")
        else "Runs on a worker: deferrable="
    )
    assert place in task.log


def test_an_exit_code_fails_the_task_in_one_sentence(run: Run, kube: Requests) -> None:
    task = run.task("fails")
    assert task.state == "failed", task.log
    assert lines_of(task, "base") == ["about to fail"]
    assert "ended with exit code 3" in task.log
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


def test_the_pod_of_a_failed_task_is_held_and_the_log_says_until_when(run: Run, kube: Requests) -> None:
    task = run.task("held")
    assert task.state == "failed", task.log
    (pod,) = pods(kube, run, "held")
    until = pod["metadata"]["annotations"]["podbay.dev/held-until"]
    assert f"Pod {NAMESPACE}/{pod['metadata']['name']} is held until {until}" in task.log


def test_an_exit_code_can_mean_skipped(run: Run, kube: Requests) -> None:
    task = run.task("skips")
    assert task.state == "skipped", task.log
    assert not pods(kube, run, "skips"), "what has not failed is not held"


def test_logs_are_left_alone_when_not_wanted(run: Run) -> None:
    task = run.task("silent")
    assert task.state == "success", task.log
    assert lines_of(task, "base") == []


def test_running_out_of_memory_is_told(run: Run) -> None:
    task = run.task("out-of-memory")
    assert task.state == "failed", task.log
    assert "memory" in task.log


def test_an_image_that_cannot_be_pulled_fails_the_task(run: Run, kube: Requests) -> None:
    task = run.task("no-image")
    assert task.state == "failed", task.log
    assert "example.com/task:1" in task.log
    assert pods(kube, run, "no-image") == []


def test_a_task_ends_when_its_time_is_up(run: Run, kube: Requests) -> None:
    task = run.task("too-long")
    assert task.state == "failed", task.log
    wait_for_pod(kube, NAMESPACE, run, "too-long", phase=None)


def test_every_task_says_which_pod_it_had(run: Run, kube: Requests) -> None:
    run.task("succeeds")
    (pod,) = pods(kube, run, "succeeds")
    path = f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/succeeds/xcomEntries"
    named = run._api.call("GET", f"{path}/pod_name"), run._api.call("GET", f"{path}/pod_namespace")
    assert [each["value"] for each in named] == [pod["metadata"]["name"], NAMESPACE]


@pytest.fixture(scope="module")
def killed(airflow: AirflowApi, kube: Requests) -> Run:
    run = airflow.trigger("podbay_killed")
    for task in ("marked-triggerer", "kept-triggerer", "marked-worker", "kept-worker", "worker-dies"):
        wait_for_pod(kube, NAMESPACE, run, task, phase="Running", seconds=120)
    return run


@pytest.mark.parametrize("where", ["triggerer", "worker"])
def test_marking_a_task_deletes_its_pod_unless_told_otherwise(
    killed: Run, kube: Requests, where: str
) -> None:
    for task in (f"marked-{where}", f"kept-{where}"):
        killed.mark(task, "failed")
    wait_for_pod(kube, NAMESPACE, killed, f"marked-{where}", phase=None)
    (pod,) = pods(kube, killed, f"kept-{where}")
    assert "deletionTimestamp" not in pod["metadata"]


def test_limits_of_a_dag_hold_for_tasks_that_no_worker_starts(airflow: AirflowApi, kube: Requests) -> None:
    run = airflow.trigger("podbay_limits")
    most, most_mapped, deadline = 0, 0, time.monotonic() + 120
    while time.monotonic() < deadline:
        states = [
            task["state"] for task in run._api.call("GET", f"{run._path}/taskInstances")["task_instances"]
        ]
        status, found = kube.call(
            "GET", f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=dag_id%3Dpodbay_limits"
        )
        assert status == 200
        alive = [pod for pod in found["items"] if pod["status"]["phase"] not in ("Succeeded", "Failed")]
        most = max(most, len(alive))
        most_mapped = max(most_mapped, sum(pod["metadata"]["labels"]["task_id"] == "mapped" for pod in alive))
        if len(states) == 9 and set(states) <= {"success", "failed"}:
            break
        time.sleep(0.1)
    assert states == ["success"] * 9
    assert (most, most_mapped) == (3, 1)


def test_a_pool_is_held_while_the_pod_runs(airflow: AirflowApi, kube: Requests) -> None:
    airflow.call("POST", "/api/v2/pools", {"name": "narrow", "slots": 1, "include_deferred": False})
    run = airflow.trigger("podbay_pool")
    most = 0
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        states = run.states()
        alive = sum(
            len([p for p in pods(kube, run, task) if p["status"]["phase"] == "Running"]) for task in states
        )
        most = max(most, alive)
        if set(states.values()) == {"success"}:
            break
        time.sleep(0.2)
    assert set(states.values()) == {"success"}, states
    assert most == 1
    assert "holds its slot of the pool narrow" in run.log("pod-0", 1)
