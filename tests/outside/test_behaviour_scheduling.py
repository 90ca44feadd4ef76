"""What Airflow's scheduler makes of tasks: time limits, trigger rules, set-up and tear-down, groups, limits, callbacks.

Our operator, and upstream's adopted, side by side.
"""

from __future__ import annotations

from typing import Any

import pytest
from airflow_api import Run
from behaviour import KINDS, NAMESPACE, Behaviour, end_of_run, open_gate, until
from pods_of_tasks import lines_of, pods_of, wait_for_pod

from podbay.testing.requests import Requests

DAGS = ("run_too_long", "too_long", "around", "ruled", "grouped", "called")


@pytest.fixture(scope="module", autouse=True, params=KINDS)
def kind(request: pytest.FixtureRequest, behaviour: Behaviour) -> str:
    """All runs of both kinds at once; each test then looks at its own."""
    for each in KINDS:
        for name in DAGS:
            behaviour.run(f"{name}_{each}")
    return str(request.param)


def test_dagrun_timeout_ends_the_pods_of_the_run(behaviour: Behaviour, kube: Requests, kind: str) -> None:
    run = behaviour.run(f"run_too_long_{kind}")
    assert end_of_run(behaviour.api, run) == "failed"
    wait_for_pod(kube, NAMESPACE, run, "endless", phase=None)
    assert run.states() == {"endless": "skipped", "never": "skipped"}


def test_execution_timeout_ends_each_try_and_its_pod(behaviour: Behaviour, kube: Requests, kind: str) -> None:
    run = behaviour.run(f"too_long_{kind}")
    for task_id, tries in (("again", 2), ("kept", 1)):
        task = run.task(task_id)
        assert (task.state, task.tries) == ("failed", tries), task.log
        assert "execution_timeout" in task.log
        # The pod alone would run longer; a busy machine takes its time for everything else.
        assert task.fields["duration"] < 500
        # A second try is ended by a worker; else none has to fail the task.
        assert bool(task.fields["hostname"]) is (tries == 2)
        # A pod that was ended in its middle is never kept.
        wait_for_pod(kube, NAMESPACE, run, task_id, phase=None)


def test_tear_down_follows_a_failure(behaviour: Behaviour, kind: str) -> None:
    run = behaviour.run(f"around_{kind}")
    assert end_of_run(behaviour.api, run) == "failed"
    assert run.states() == {
        "setup": "success",
        "fails": "failed",
        "not-reached": "upstream_failed",
        "teardown": "success",
    }
    # On a machine that is so busy that one triggerer takes over from another a line may be told twice.
    assert set(lines_of(run.task("teardown"), "base")) == {"torn down"}


def test_trigger_rules_see_how_tasks_ended(behaviour: Behaviour, kind: str) -> None:
    run = behaviour.run(f"ruled_{kind}")
    assert end_of_run(behaviour.api, run) == "failed"
    states = run.states()
    ended = {name: states.pop(name) for name in ("good", "bad", "skips")}
    assert ended == {"good": "success", "bad": "failed", "skips": "skipped"}
    assert states == {
        "all_success": "upstream_failed",
        "all_failed": "skipped",
        "all_done": "success",
        "all_done_min_one_success": "skipped",
        "all_skipped": "skipped",
        "none_failed": "upstream_failed",
        "none_failed_min_one_success": "upstream_failed",
        "none_skipped": "skipped",
        "one_done": "success",
        "one_failed": "success",
        "one_success": "success",
    }


def test_tasks_of_groups_have_their_names_and_defaults(
    behaviour: Behaviour, kube: Requests, kind: str
) -> None:
    run = behaviour.run(f"grouped_{kind}")
    assert end_of_run(behaviour.api, run) == "success"
    assert set(run.states()) == {"first.one", "first.inner.two", "three"}
    (pod,) = pods_of(kube, NAMESPACE, run, "first.inner.two")
    assert pod["metadata"]["labels"]["from"] == "group"
    assert run.fields("first.inner.two")["end_date"] <= run.fields("three")["start_date"]


def with_one_triggerer(behaviour: Behaviour, dag_id: str, names: set[str]) -> Run:
    """A run whose tasks are all with the same triggerer, for each of them knows the ranks of its own tasks alone."""
    for _ in range(10):
        run = behaviour.api.trigger(dag_id)
        if len(_owners(behaviour, run, names)) == 1:
            return run
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run.run_id}"
        behaviour.api.call("PATCH", path, {"state": "failed"})
    raise AssertionError("two triggerers always share the tasks of a run")


def _owners(behaviour: Behaviour, run: Run, names: set[str]) -> set[int]:
    def found() -> set[int] | None:
        owners = {behaviour.triggerer_of(run, name) for name in names}
        return {owner for owner in owners if owner is not None} if None not in owners else None

    return until(found, lambda: f"all to be deferred; {run.states()}") or set()


def alive(kube: Requests, run: Run, names: set[str]) -> list[dict[str, Any]]:
    found = [pod for name in names for pod in pods_of(kube, NAMESPACE, run, name)]
    return [pod for pod in found if pod["status"]["phase"] in ("Pending", "Running")]


def let_go_one_after_the_other(kube: Requests, run: Run, names: set[str]) -> list[str]:
    """The tasks in the order in which they got their pods, each of which had to end for the next one."""
    order: list[str] = []
    while len(order) < len(names):
        (pod,) = until(
            lambda: alive(kube, run, names - set(order)), lambda: f"a pod after {order}; {run.states()}"
        )
        order.append(pod["metadata"]["labels"]["task_id"])
        assert alive(kube, run, names) == [pod]
        open_gate(kube, pod)
        run.wait_for(order[-1], {"success"})
    return order


def test_waiting_tasks_go_by_their_weight(behaviour: Behaviour, kube: Requests, kind: str) -> None:
    """One has room; which is the first is not said, for the others were not there yet."""
    names = {f"pod-{number}" for number in range(3)}
    run = with_one_triggerer(behaviour, f"ranked_{kind}", names)

    def waiting() -> set[str]:
        return {
            name for name in names if "Waits for others to end: max_active_tasks is 1" in run.log(name, 1)
        }

    until(lambda: len(waiting()) == 2, lambda: f"two tasks that wait; {waiting()}, {run.states()}")
    order = let_go_one_after_the_other(kube, run, names)
    assert order[1:] == [name for name in ("pod-1", "pod-2", "pod-0") if name != order[0]]


def test_a_slot_of_a_pool_is_held_while_the_pod_runs(behaviour: Behaviour, kube: Requests, kind: str) -> None:
    pool = f"narrow_{kind}"
    behaviour.api.call("POST", "/api/v2/pools", {"name": pool, "slots": 1, "include_deferred": False})
    run = behaviour.run(f"pooled_{kind}")
    names = {"pod-0", "pod-1"}
    until(lambda: alive(kube, run, names), "the first pod")
    assert behaviour.api.call("GET", f"/api/v2/pools/{pool}")["running_slots"] == 1
    assert sorted(let_go_one_after_the_other(kube, run, names)) == sorted(names)
    assert f"Runs on a worker: it holds its slot of the pool {pool}" in run.log("pod-0", 1)


def test_each_callback_is_called_once(behaviour: Behaviour, kind: str) -> None:
    run = behaviour.run(f"called_{kind}")
    assert end_of_run(behaviour.api, run) == "failed"
    wanted = [
        "fails failure",
        "fails-twice failure",
        "fails-twice retry",
        "skips skipped",
        "succeeds success",
    ]
    until(lambda: len(behaviour.called(run.dag_id)) >= len(wanted), "all callbacks")
    # The DAG processor would call a second time what a worker has called; it takes its requests in order.
    assert behaviour.called(run.dag_id) == wanted
