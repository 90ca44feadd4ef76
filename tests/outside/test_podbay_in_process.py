"""`dag.test()` and `airflow tasks test`: our tasks in the process of whoever tries a DAG, with nothing of Airflow running."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import SIDECAR
from podbay.testing import Environment
from podbay.testing.requests import Requests

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("containers")]
DAGS = """
from airflow.sdk import DAG, task
from podbay import KubernetesPodOperator

shared = {"namespace": "containers", "image": "localhost/bb:1", "retries": 0}
result = {"cmds": ["sh", "-c"], "do_xcom_push": True}

with DAG("tried") as dag:

    @task.pod(namespace="containers", image="localhost/python:1")
    def add(first: int, second: int) -> dict:
        return {"sum": first + second}

    @task.pod_cmd(**shared)
    def say(found: dict) -> list[str]:
        return ["echo", f"the sum is {found['sum']}"]

    many = KubernetesPodOperator(
        task_id="many", arguments=["echo '[3, 4]' > /airflow/xcom/return.json"], **result, **shared
    )
    words = [["echo {{ ti.map_index }} of {{ dag.dag_id }}"], ["echo {{ nobody }}"]]
    KubernetesPodOperator.partial(task_id="mapped", cmds=["sh", "-c"], **shared).expand(arguments=words)
    say(add(1, 2))
    add.override(task_id="over").partial(second=10).expand(first=many.output)

if __name__ == "__main__":
    run = dag.test()
    for ti in sorted(run.get_task_instances(), key=lambda ti: (ti.task_id, ti.map_index)):
        print("ENDED", ti.task_id, ti.map_index, ti.state, ti.xcom_pull(ti.task_id, map_indexes=ti.map_index))
"""


@pytest.fixture(scope="module")
def python(cluster: Environment, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Runs the DAG file, or Airflow, with a home of its own; what that printed."""
    home = tmp_path_factory.mktemp("tried")
    file = home / "dags" / "tried.py"
    file.parent.mkdir()
    file.write_text(DAGS)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "KUBE"))}
    env |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__PODBAY__RESULT_IMAGE": SIDECAR,
        "KUBECONFIG": str(cluster.kubeconfig),
        "PYTHONWARNINGS": "ignore",
    }

    def run(*words: str | Path) -> str:
        done = subprocess.run(
            [sys.executable, *(words or (file,))],
            env=env,
            cwd=home,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        return done.stdout + done.stderr

    run("-m", "airflow", "db", "migrate")
    return run


def left(kube: Requests) -> list[str]:
    status, found = kube.call("GET", "/api/v1/namespaces/containers/pods?labelSelector=dag_id%3Dtried")
    assert status == 200, found
    return [pod["metadata"]["name"] for pod in found["items"]]


def test_a_dag_is_tried_with_all_that_passes_between_its_tasks(
    python: Callable[..., str], kube: Requests
) -> None:
    said = python()
    ended = [line.removeprefix("ENDED ") for line in said.splitlines() if line.startswith("ENDED ")]
    assert ended == [
        "add -1 success {'sum': 3}",
        "many -1 success [3, 4]",
        "mapped 0 success None",
        "mapped 1 failed None",
        "over 0 success {'sum': 13}",
        "over 1 success {'sum': 14}",
        "say -1 success None",
    ], said[-8000:]
    for line in ("[base] the sum is 3", "[base] 0 of tried"):
        assert line in said
    assert "'nobody' is undefined" in said
    assert left(kube) == []


def test_one_task_is_tried_by_airflows_command(python: Callable[..., str], kube: Requests) -> None:
    said = python("-m", "airflow", "tasks", "test", "tried", "many")
    assert "Runs on a worker: it is run for a test, in one process." in said, said[-8000:]
    assert "succeeded" in said
    assert left(kube) == []
