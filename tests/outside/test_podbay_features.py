"""Our operator with real containers: results, templates, mapping, callbacks, functions, and what surrounds a task."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from airflow_api import AirflowApi, Run
from pods_of_tasks import lines_of

from podbay.testing import Environment
from podbay.testing.requests import Requests

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("containers")]
NAMESPACE = "containers"


@pytest.fixture(scope="module")
def runs(airflow: AirflowApi, cluster: Environment) -> Iterator[dict[str, Run]]:
    """Of all DAGs of this file at once."""
    with Requests(cluster.kubeconfig) as kube:
        data = {name: base64.b64encode(name.upper().encode()).decode() for name in ("one", "two")}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "env-secrets"}, "data": data}
        status, answer = kube.call("POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", body)
        assert status == 201, answer
    yield {name: airflow.trigger(f"podbay_{name}") for name in ("xcom", "around", "functions", "native")}


def words(run: Run, task_id: str, **which: Any) -> list[str]:
    """What the container wrote, once the task has succeeded."""
    task = run.task(task_id, **which)
    assert task.state == "success", task.log
    return lines_of(task, "base")


def test_results_are_pushed_as_they_are(runs: dict[str, Run]) -> None:
    task = runs["xcom"].task("one")
    assert (task.state, task.result) == ("success", {"answer": [42, "ü"], "list": ["x", "y"]}), task.log
    assert runs["xcom"].xcom("one", "list") == ["x", "y"]


def test_templates_and_pulls_are_those_of_a_worker(runs: dict[str, Run]) -> None:
    assert words(runs["xcom"], "pulls") == ["42 [x, y] podbay_xcom-none 4 [[p, q]]"]
    assert "Runs in the triggerer" in runs["xcom"].task("pulls").log


def test_mapped_tasks_get_their_own_arguments(runs: dict[str, Run]) -> None:
    run = runs["xcom"]
    found = [words(run, "mapped", map_index=index)[0] for index in range(4)]
    assert found == ["a 1 0 red", "a 1 1 podbay_xcom", "b 2 2 red", "b 2 3 podbay_xcom"]
    assert [run.task("mapped", map_index=index).result for index in range(4)] == [
        "ared", "apodbay_xcom", "bred", "bpodbay_xcom",
    ]  # fmt: skip


def test_mapping_over_a_result_and_over_rows(runs: dict[str, Run]) -> None:
    run = runs["xcom"]
    assert [words(run, "over", map_index=index) for index in range(2)] == [["got p"], ["got q"]]
    assert "Starts on a worker" in run.task("over", map_index=0).log
    assert words(run, "rows", map_index=0) == ["row manual"]
    assert run.task("rows", map_index=1).state == "skipped"


def test_tasks_of_a_mapped_group_see_their_own_branch(runs: dict[str, Run]) -> None:
    run = runs["xcom"]
    assert [words(run, "grouped.outer", map_index=index) for index in range(2)] == [["outer k"], ["outer l"]]
    assert "Runs in the triggerer" in run.task("grouped.outer", map_index=0).log


@pytest.mark.parametrize(
    ("task_id", "said"),
    [("not-json", "JSON"), ("undefined", "nothing_of_this_name"), ("bad-pod", "env_vars")],
)
def test_what_cannot_be_fails_with_its_name(runs: dict[str, Run], task_id: str, said: str) -> None:
    task = runs["xcom"].task(task_id)
    assert task.state == "failed", task.log
    assert said in task.log


@pytest.mark.parametrize(
    ("task_id", "state"),
    [("success-callback", "success"), ("failure-callback", "failed"), ("skip-callback", "skipped")],
)
def test_callbacks_run_on_a_worker_after_the_pod(runs: dict[str, Run], task_id: str, state: str) -> None:
    task = runs["around"].task(task_id)
    assert task.state == state, task.log
    assert f"callback of {task_id}" in task.log
    assert "Runs in the triggerer; a worker finishes it if it" in task.log


def test_callbacks_before_the_pod_start_on_a_worker(runs: dict[str, Run]) -> None:
    task = runs["around"].task("execute-callback")
    assert task.state == "success", task.log
    assert task.log.index("callback of") < task.log.index("[base] work")
    assert "Starts on a worker and goes on in the triggerer: on_execute_callback" in task.log


def test_upstreams_callback_classes_hear_of_every_moment(runs: dict[str, Run]) -> None:
    task = runs["around"].task("tells")
    assert task.state == "success", task.log
    told = [line.removeprefix("told: ") for line in task.log.splitlines() if line.startswith("told: ")]
    # The container's line and the news of its state come on two ways.
    assert "progress base work" in told
    told.remove("progress base work")
    assert told[:2] == ["client", "creation manifest"]
    assert told[2].startswith("completion ")
    assert told[3:] == ["cleanup"]
    assert "Runs on a worker: callbacks can only run" in task.log


def test_an_outlet_makes_its_event_and_the_result_stays(runs: dict[str, Run], airflow: AirflowApi) -> None:
    run = runs["around"]
    task = run.task("outlet")
    assert (task.state, task.result) == ("success", {"rows": 1}), task.log
    events = airflow.call("GET", "/api/v2/assets/events?source_dag_id=podbay_around")["asset_events"]
    assert [event["source_task_id"] for event in events if event["source_run_id"] == run.run_id] == ["outlet"]


def test_macros_of_the_dag_are_rendered(runs: dict[str, Run]) -> None:
    assert words(runs["around"], "macro") == ["of the DAG"]


@pytest.mark.parametrize(("dag", "task_id"), [("around", "retried"), ("xcom", "again")])
def test_a_retry_is_another_pod(runs: dict[str, Run], dag: str, task_id: str) -> None:
    task = runs[dag].task(task_id, seconds=240)
    assert (task.state, task.tries) == ("success", 2), task.log
    assert lines_of(task, "base") == ["try 2"]
    # Airflow has done what a new try asks first.
    assert "does not delete the result" not in task.log
    assert task.fields["duration"] >= 0


def test_teardown_runs_after_a_failure(runs: dict[str, Run]) -> None:
    assert runs["around"].task("work").state == "failed"
    assert words(runs["around"], "teardown") == ["torn down"]


def test_secrets_reach_the_container_by_reference(runs: dict[str, Run]) -> None:
    assert words(runs["around"], "secrets") == ["ONE TWO three"]


def test_a_formatter_makes_the_lines(runs: dict[str, Run]) -> None:
    task = runs["around"].task("formatted")
    assert "<base> line" in task.log
    assert "<base> ERROR bad" in task.log


def test_no_line_of_a_flood_is_lost_or_repeated(runs: dict[str, Run]) -> None:
    assert words(runs["around"], "many-lines") == [f"line {number}" for number in range(3000)]


def test_functions_take_and_return_values(runs: dict[str, Run]) -> None:
    run = runs["functions"]
    task = run.task("add")
    assert (task.state, task.result) == ("success", {"sum": 3, "when": "2026-01-02 00:00:00+00:00"}), task.log
    assert run.task("add_more").result == {"sum": 13, "when": "None"}
    assert run.task("size").result == 300_000
    assert [run.task("sizes", map_index=index).result for index in range(2)] == [1, 2]
    assert run.xcom("two", "b") == 2


@pytest.mark.parametrize(
    ("task_id", "said"),
    [("raises", "ValueError: on purpose"), ("not_json", "is not JSON"), ("no_python", "python3")],
)
def test_functions_that_fail_say_why(runs: dict[str, Run], task_id: str, said: str) -> None:
    task = runs["functions"].task(task_id)
    assert task.state == "failed", task.log
    assert said in task.log


def test_a_function_can_make_the_command(runs: dict[str, Run]) -> None:
    assert words(runs["functions"], "command") == ["hello command manual"]


def test_native_templates_give_lists(runs: dict[str, Run]) -> None:
    assert words(runs["native"], "native") == ["native p q"]
