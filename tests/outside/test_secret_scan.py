"""A full run of both operators with a secret value, some of it failing: the value shows nowhere (design P8).

A second text that is no secret goes the same ways in the open. That the scan finds it is what the other answers are worth.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from airflow_api import AirflowApi, Run, Task
from airflow_home import AirflowHome
from podbay_programs import Programs
from pods_of_tasks import lines_of
from secret_search import Sampler, forms, in_database, in_files, in_objects

from podbay.node.agent import NodeAgent
from podbay.testing import Environment
from podbay.testing.requests import Requests

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("containers")]
NAMESPACE = "scanned"
CONTROL = "control-5d1f0c2e77aa"
DAGS = ("scan_ours", "scan_ours_worker", "scan_upstream", "scan_upstream_deferred")
TASKS = {
    "succeeds": "success",
    "fails": "failed",
    "whole": "failed",
    "cannot-start": "failed",
    "no-such-key": "failed",
}


@dataclass
class Scan:
    value: str
    tasks: dict[str, dict[str, Task]]
    said: str
    """By the commands that were used."""
    secret: Sampler
    control: Sampler
    after: dict[str, dict[str, set[str]]]
    """Objects of the cluster at the end, by what was looked for."""


@pytest.fixture(scope="module")
def scan(
    airflow: AirflowApi, cluster: Environment, agent: NodeAgent, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scan]:
    """All DAGs at once, watched from before the value exists until every task has ended."""
    home = tmp_path_factory.mktemp("podbay-home")
    value = secrets.token_hex(24)
    with Requests(cluster.kubeconfig) as kube:
        kube.create_namespace(NAMESPACE)
        with (
            Sampler(forms(value), cluster.kubeconfig) as secret,
            Sampler(forms(CONTROL), cluster.kubeconfig) as control,
        ):
            said = set_secret(home, cluster.kubeconfig, value)
            connection = {
                "connection_id": "scan_db",
                "conn_type": "postgres",
                "host": "db",
                "password": value,
            }
            airflow.call("POST", "/api/v2/connections", connection)
            airflow.call("POST", "/api/v2/variables", {"key": "scan_key", "value": value})
            runs = {name: airflow.trigger(name) for name in DAGS}
            tasks = {name: ended(run) for name, run in runs.items()}
        wait_until_only_one_secret_has(forms(value), kube)
        after = {"secret": in_objects(forms(value), kube), "control": in_objects(forms(CONTROL), kube)}
        for pod in sorted(after["control"]["pods"]):
            said += podbay(home, "explain", f"{NAMESPACE}/{pod}", "--cluster", str(cluster.kubeconfig))
    found = in_files(forms(value), home)
    assert not found, found
    yield Scan(value, tasks, said, secret, control, after)


def set_secret(home: Path, kubeconfig: Path, value: str) -> str:
    """Through the commands that people use; what they said."""
    (home / "podbay.yaml").write_text(f"version: 1\nname: scanned\nnamespace: {NAMESPACE}\n")
    where = ("--cluster", str(kubeconfig))
    said = podbay(home, "secrets", "set", "PASSWORD", *where, stdin="an-earlier-value")
    said += podbay(home, "secrets", "rotate", "PASSWORD", *where, stdin=value)
    return said + podbay(home, "secrets", "list", *where) + podbay(home, "plan", *where)


def wait_until_only_one_secret_has(wanted: list[bytes], kube: Requests) -> None:
    """What was lent goes with its pod, a moment after it."""
    deadline = time.monotonic() + 120
    while in_objects(wanted, kube).get("secrets") != {"env-secrets"} and time.monotonic() < deadline:
        time.sleep(0.2)


def podbay(home: Path, *words: str, stdin: str = "") -> str:
    ended = Programs(home)(*words, stdin=stdin)
    return ended.out + ended.err


def ended(run: Run) -> dict[str, Task]:
    return {task_id: run.task(task_id, seconds=600) for task_id in run.states()}


@pytest.mark.parametrize("dag", DAGS)
def test_the_value_was_really_used(scan: Scan, dag: str) -> None:
    tasks = scan.tasks[dag]
    digest = hashlib.md5(scan.value.encode()).hexdigest()
    states = {name: task.state for name, task in tasks.items() if name in TASKS}
    assert states == TASKS, "\n".join(tasks[name].log for name in TASKS if states[name] != TASKS[name])
    for name in ("succeeds", "fails", "whole", *(["short"] if "short" in tasks else [])):
        assert lines_of(tasks[name], "base")[:2] == [f"{digest}  -", CONTROL], tasks[name].log
    assert tasks["succeeds"].result == {"length": 48}
    assert scan.secret.inside, "the container had it"


@pytest.mark.parametrize("dag", ["scan_ours", "scan_ours_worker"])
def test_what_airflow_lends_is_in_the_container(scan: Scan, dag: str) -> None:
    task = scan.tasks[dag]["lent"]
    digest = hashlib.md5(scan.value.encode()).hexdigest()
    assert lines_of(task, "base") == [f"{digest}  -", "1"], task.log
    assert "exit code 6" in task.log


def test_what_airflow_does_not_have_cannot_be_lent(scan: Scan) -> None:
    task = scan.tasks["scan_ours_worker"]["nothing-to-lend"]
    assert task.state == "failed"
    assert "connection no_such_db is to be lent to the pod and does not exist" in task.log


def test_no_log_and_no_error_has_it(scan: Scan, airflow_home: AirflowHome) -> None:
    assert in_files(forms(scan.value), airflow_home.directory) == set()
    assert scan.value not in scan.said
    shown = "".join(task.log for tasks in scan.tasks.values() for task in tasks.values())
    assert CONTROL in shown
    assert scan.value not in shown
    logs = {Path(each).suffix for each in in_files(forms(CONTROL), airflow_home.directory)}
    assert ".log" in logs


def test_airflows_database_does_not_have_it(scan: Scan, airflow_home: AirflowHome) -> None:
    """Serialised DAGs, triggers, rendered fields, XComs."""
    database = airflow_home.directory / "airflow.db"
    assert in_database(forms(scan.value), database) == set()
    assert {"serialized_dag", "dag_code", "rendered_task_instance_fields"} <= in_database(
        forms(CONTROL), database
    )


def test_of_all_objects_the_secret_alone_has_it(scan: Scan) -> None:
    assert scan.after["secret"] == {"secrets": {"env-secrets"}}
    assert scan.secret.objects == {}
    assert scan.control.objects["pods"] >= scan.after["control"]["pods"]


def test_no_command_line_and_no_environment_outside_of_containers_has_it(scan: Scan) -> None:
    assert scan.secret.commands == set()
    assert scan.secret.environments == set()
    assert scan.control.commands, "the arguments of a container have it"


def test_no_file_of_the_node_has_it_but_what_its_containers_are_made_of(scan: Scan, agent: NodeAgent) -> None:
    found = in_files(forms(scan.value), agent._storage)
    assert {each for each in found if Path(each).name != "config.json"} == set()
    for each in found:
        assert Path(each).stat().st_mode & 0o077 == 0, each
    assert in_files(forms(CONTROL), agent._storage)
