"""What users do to tasks while these run: clear, mark, pause. Our operator, and upstream's adopted, side by side."""

from __future__ import annotations

from typing import Any

import pytest
from airflow_api import Run
from behaviour import KINDS, NAMESPACE, Behaviour, end_of_run, open_gate, until
from pods_of_tasks import lines_of, pods_of, wait_for_pod

from podbay.objects.meta import uid_of
from podbay.testing.requests import Requests


@pytest.fixture(scope="module", autouse=True)
def all_at_once(behaviour: Behaviour) -> None:
    """Each test then looks at its own run."""
    for kind in KINDS:
        for name in ("cleared", "marked", "paused"):
            behaviour.run(f"{name}_{kind}")


def uids(kube: Requests, run: Run, task_id: str) -> set[str]:
    return {uid_of(pod) for pod in pods_of(kube, NAMESPACE, run, task_id)}


def wait_for_another(kube: Requests, run: Run, task_id: str, first: dict[str, Any]) -> dict[str, Any]:
    """The pod that runs instead of the first one."""

    def other() -> Any:
        found = pods_of(kube, NAMESPACE, run, task_id)
        running = [
            pod for pod in found if pod["status"]["phase"] == "Running" and uid_of(pod) != uid_of(first)
        ]
        return running if len(found) == 1 else None

    (pod,) = until(
        other, lambda: f"another pod of {task_id}; {uids(kube, run, task_id)}, {run.log(task_id, 2)}"
    )
    return dict(pod)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task_id", ["running", "retried"])
def test_a_task_that_is_cleared_while_it_runs_gets_another_pod(
    behaviour: Behaviour, kube: Requests, kind: str, task_id: str
) -> None:
    run = behaviour.run(f"cleared_{kind}")
    first = wait_for_pod(kube, NAMESPACE, run, task_id, phase="Running")
    run.clear(task_id)
    second = wait_for_another(kube, run, task_id, first)
    assert "Takes over" not in run.log(task_id, 2)
    assert run.states()[task_id] == "deferred"
    assert run.fields(task_id)["try_number"] == 2
    run.mark(task_id, "failed")
    wait_for_pod(kube, NAMESPACE, run, task_id, phase=None)
    assert uid_of(second) != uid_of(first)


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_that_is_cleared_after_its_end_runs_again(
    behaviour: Behaviour, kube: Requests, kind: str
) -> None:
    run = behaviour.run(f"cleared_{kind}")
    first = run.task("finished")
    assert (first.state, lines_of(first, "base")) == ("success", ["try 1"]), first.log
    run.clear("finished")
    until(lambda: run.fields("finished")["try_number"] == 2, "the second try")
    again = run.task("finished")
    assert (again.state, again.tries, lines_of(again, "base")) == ("success", 2, ["try 2"]), again.log
    assert again.fields["duration"] >= 0
    assert len(uids(kube, run, "finished")) == 2
    assert run.task("after").state == "success"
    assert lines_of(first, "base") == ["try 1"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_marked_task_stays_as_it_was_marked_and_its_pod_goes(
    behaviour: Behaviour, kube: Requests, kind: str
) -> None:
    run = behaviour.run(f"marked_{kind}")
    states = ("success", "failed", "skipped")
    for state in states:
        wait_for_pod(kube, NAMESPACE, run, f"to-{state}", phase="Running")
    for state in states:
        run.mark(f"to-{state}", state)
    for state in states:
        wait_for_pod(kube, NAMESPACE, run, f"to-{state}", phase=None)
    assert end_of_run(behaviour.api, run) == "failed"
    assert run.states() == {
        "to-success": "success",
        "after-success": "success",
        "to-failed": "failed",
        "after-failed": "upstream_failed",
        "to-skipped": "skipped",
        "after-skipped": "skipped",
    }
    assert [run.fields(f"to-{state}")["try_number"] for state in states] == [1, 1, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_running_tasks_of_a_paused_dag_end_well(behaviour: Behaviour, kube: Requests, kind: str) -> None:
    run = behaviour.run(f"paused_{kind}")
    until(lambda: len(uids(kube, run, "running")) == 1, "its pod")
    behaviour.pause(run.dag_id, True)
    open_gate(kube, pods_of(kube, NAMESPACE, run, "running")[0])
    task = run.task("running")
    assert (task.state, lines_of(task, "base")) == ("success", ["to the end"]), task.log
    assert run.states()["next"] is None
    behaviour.pause(run.dag_id, False)
    assert end_of_run(behaviour.api, run) == "success"
