"""What survives: a triggerer that is killed while pods run, arguments that cannot be read; and upstream's operator adopted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from airflow_api import Run
from airflow_deployment import environment, free_port, running_airflow, start_component
from airflow_home import AirflowHome
from podbay_programs import PROGRAM
from pods_of_tasks import lines_of, pods_of, wait_for_pod

from conftest import PYTHON, SIDECAR
from podbay.testing import Environment
from podbay.testing.requests import Requests

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("containers")]
NAMESPACE = "containers"


@dataclass(frozen=True, kw_only=True)
class AdoptingHome(AirflowHome):
    """Of a deployment that runs upstream's operators on our engine."""

    @property
    def dags(self) -> Path:
        return Path(__file__).parent / "fault_dags"

    def settings(self) -> dict[str, str]:
        # The same secrets for every process, also for one that is started later.
        known: dict[str, str] = _SETTINGS.setdefault(self.directory, super().settings())
        return known | {
            "AIRFLOW__PODBAY__ADOPT_UPSTREAM_OPERATORS": "True",
            "AIRFLOW__PODBAY__DEPLOYMENT": "faults",
        }


_SETTINGS: dict[Path, dict[str, str]] = {}
_PODS: dict[str, str] = {}
"""Names of the pods that ran when the triggerer was killed, by task."""


@pytest.fixture(scope="module")
def home(cluster: Environment, tmp_path_factory: pytest.TempPathFactory) -> AirflowHome:
    return AdoptingHome(
        directory=tmp_path_factory.mktemp("adopting"),
        port=free_port(),
        kubeconfig=cluster.kubeconfig,
        sidecar_image=SIDECAR,
        worker_image=PYTHON,
    )


@pytest.fixture(scope="module")
def run(home: AirflowHome, kube: Requests) -> Iterator[Run]:
    """A run whose triggerer was killed in the middle of two pods' logs; another one, Podbay's, went on."""
    processes: dict[str, subprocess.Popen[bytes]] = {}
    with running_airflow(home, processes) as api:
        run = api.trigger("handed_over")
        for task in ("ours", "adopted"):
            wait_for_pod(kube, NAMESPACE, run, task, phase="Running", seconds=120)
        _wait_for_line(run, "line 25")
        _PODS.update(
            {name: pods_of(kube, NAMESPACE, run, name)[0]["metadata"]["name"] for name in ("ours", "adopted")}
        )
        os.killpg(processes["triggerer"].pid, signal.SIGKILL)
        processes["triggerer"].wait()
        processes["triggerer"] = start_component(
            home, environment(home), "triggerer", [str(PROGRAM), "triggerer", "--skip-serve-logs"]
        )
        yield run


def _wait_for_line(run: Run, line: str) -> None:
    deadline = time.monotonic() + 60
    while not all(f"[base] {line}\n" in run.log(task, 1) for task in ("ours", "adopted")):
        assert time.monotonic() < deadline, run.log("ours", 1)
        time.sleep(0.3)


@pytest.mark.parametrize("task_id", ["ours", "adopted"])
def test_another_triggerer_goes_on_with_the_pod(run: Run, kube: Requests, task_id: str) -> None:
    task = run.task(task_id, seconds=240)
    assert (task.state, task.result, task.tries) == ("success", task_id, 1), task.log
    lines = lines_of(task, "base")
    # None is missing; those of the last seconds before the end may have been written twice.
    assert list(dict.fromkeys(lines)) == [f"line {number}" for number in range(400)]
    assert len(lines) < 400 + 60
    assert run.xcom(task_id, "pod_name") == _PODS[task_id]
    assert pods_of(kube, NAMESPACE, run, task_id) == []


def test_the_other_one_was_podbays(run: Run, home: AirflowHome) -> None:
    log = home.log("triggerer").read_text()
    assert log.count("Podbay's triggerer: looks five times a second") == 1
    # Of what it changes in Airflow, nothing was built otherwise than expected.
    for told in (
        "DAGs are read once",
        "XComs are stored and read",
        "looks once a second",
        "keeps all its versions",
    ):
        assert told not in log


def test_adopted_mapped_tasks_get_their_arguments(run: Run) -> None:
    found = [run.task("mapped", map_index=index) for index in range(2)]
    assert [(task.state, task.result) for task in found] == [("success", "x"), ("success", "handed_over")]


def test_adopted_tasks_call_back(run: Run) -> None:
    task = run.task("called")
    assert task.state == "success", task.log
    assert "callback" in task.log


def test_arguments_that_cannot_be_read_fail_their_task_alone(run: Run) -> None:
    task = run.task("poisoned")
    assert task.state == "failed", task.log
    assert "not those of a podbay task" in task.log


TESTED = """
import os, signal, sys, threading, time
from pathlib import Path
from airflow.sdk import DAG
from podbay import KubernetesPodOperator
from podbay.testing.requests import Requests

script = "scripted.podbay.dev/"
with DAG("tested") as dag:
    shared = dict(
        namespace="scripted", image="example.com/t:1", node_selector={"podbay.dev/scripted": "true"},
        tolerations=[{"key": "podbay.dev/scripted", "operator": "Exists"}],
    )
    good = KubernetesPodOperator(task_id="good", annotations={script + "log": "hello"}, **shared)
    long = KubernetesPodOperator(task_id="long", annotations={script + "run-seconds": "600"}, **shared)
    good >> long

def stop():
    with Requests(Path(sys.argv[1])) as kube:
        while True:
            _, found = kube.call("GET", "/api/v1/namespaces/scripted/pods?labelSelector=dag_id%3Dtested,task_id%3Dlong")
            if any(pod["status"]["phase"] == "Running" for pod in found["items"]):
                os.kill(os.getpid(), signal.SIGTERM)
                return
            time.sleep(0.1)

if __name__ == "__main__":
    threading.Thread(target=stop, daemon=True).start()
    run = dag.test()
    print("STATES", {ti.task_id: str(ti.state) for ti in run.get_task_instances()})
"""


def test_a_stopped_worker_ends_the_pod_and_never_succeeds(
    cluster: Environment, kube: Requests, tmp_path: Path
) -> None:
    """In `dag.test()`, where Airflow's task runner handles signals as on a worker."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "KUBE"))}
    env |= {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "KUBECONFIG": str(cluster.kubeconfig),
        "PYTHONWARNINGS": "ignore",
    }
    file = tmp_path / "dags" / "tested.py"
    file.parent.mkdir()
    file.write_text(TESTED)
    for words in (["-m", "airflow", "db", "migrate"], [str(file), str(cluster.kubeconfig)]):
        done = subprocess.run(
            [sys.executable, *words],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    said = done.stdout + done.stderr
    assert "STATES {'good': 'success', 'long': 'failed'}" in said, said[-6000:]
    assert "[base] hello" in said
    status, found = kube.call("GET", "/api/v1/namespaces/scripted/pods?labelSelector=dag_id%3Dtested")
    assert (status, found["items"]) == (200, [])
