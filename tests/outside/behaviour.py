"""An Airflow with two triggerers that also runs upstream's operator on our engine: one for all tests of behaviour.

On SQLite, or on a PostgreSQL of its own: `--airflow-database postgresql`. On an embedded cluster, or on the one of any
kubeconfig: `--cluster KUBECONFIG --fault-image IMAGE`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from airflow_api import AirflowApi, Run
from airflow_deployment import environment, running_airflow, start_component
from airflow_home import AirflowHome

from podbay.testing.requests import Requests

__all__ = ["KINDS", "NAMESPACE", "Behaviour", "BehaviourHome", "end_of_run", "open_gate", "until"]

KINDS = ("ours", "adopted")
NAMESPACE = "podbay-behaviour"
T = TypeVar("T")


def until(condition: Callable[[], T], what: str | Callable[[], object], *, seconds: float = 300) -> T:
    """The first true answer. Raises TimeoutError, saying what did not come."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s in vain for {what() if callable(what) else what}")
        time.sleep(0.2)
    return found


@dataclass(frozen=True, kw_only=True)
class BehaviourHome(AirflowHome):
    database: str = ""
    """A URL; empty for SQLite."""
    image: str = ""
    """Of pods on a cluster without scripted nodes; it has a shell."""
    known: dict[str, str] = field(default_factory=dict)
    """The same secrets for every process, also for one that is started later."""

    @property
    def dags(self) -> Path:
        return Path(__file__).parent / "behaviour_dags"

    @property
    def told(self) -> Path:
        """Pods that wait for a file look here."""
        return self.directory / "told"

    def settings(self) -> dict[str, str]:
        if not self.known:
            self.known.update(super().settings())
        found = self.known | {
            "AIRFLOW__PODBAY__ADOPT_UPSTREAM_OPERATORS": "True",
            "AIRFLOW__PODBAY__DEPLOYMENT": "behaviour",
            "PODBAY_BEHAVIOUR_IMAGE": self.image,
            # A triggerer that says nothing is given up sooner than after half a minute.
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "20",
        }
        return found | ({"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.database} if self.database else {})


@dataclass
class Behaviour:
    """The running deployment and its triggerers by the number that Airflow gives them."""

    home: BehaviourHome
    api: AirflowApi
    triggerers: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    _known: set[int] = field(default_factory=set)
    """Also those that have ended: Airflow remembers them."""

    @classmethod
    @contextlib.contextmanager
    def started(cls, home: BehaviourHome) -> Iterator[Behaviour]:
        home.told.mkdir()
        processes: dict[str, subprocess.Popen[bytes]] = {}
        with running_airflow(home, processes) as api:
            found = cls(home, api)
            found._know(processes["triggerer"])
            try:
                found.add_triggerer()
                yield found
            finally:
                for process in found.triggerers.values():
                    _end(process)

    def run(self, dag_id: str) -> Run:
        """The one run of a DAG; started when it is first asked for."""
        if dag_id not in self.runs:
            self.runs[dag_id] = self.api.trigger(dag_id)
        return self.runs[dag_id]

    # -- triggerers

    def add_triggerer(self) -> int:
        """Its number, once it has reported."""
        return self._know(start_component(self.home, environment(self.home), "triggerer"))

    def _know(self, process: subprocess.Popen[bytes]) -> int:
        def new() -> set[int]:
            assert process.poll() is None, self.home.log("triggerer").read_text()[-3000:]
            return self._reporting() - self._known

        (number,) = until(new, "a new triggerer")
        self._known.add(number)
        self.triggerers[number] = process
        return number

    def _reporting(self) -> set[int]:
        found = self.api.call("GET", "/api/v2/jobs?job_type=TriggererJob&limit=100")
        return {job["id"] for job in found["jobs"]}

    def triggerer_of(self, run: Run, task_id: str) -> int | None:
        """Which one has the task."""
        job = run.fields(task_id)["triggerer_job"]
        return job["id"] if job else None

    def signal(self, number: int, which: signal.Signals) -> None:
        """To the triggerer and the process that runs its triggers."""
        os.killpg(self.triggerers[number].pid, which)

    def stall(self, number: int) -> None:
        """Stop it as it is; not in the middle of a transaction, which would stop all of Airflow where that has SQLite."""
        until(lambda: self._stalls(number), "a moment without a transaction")

    def _stalls(self, number: int) -> bool:
        self.signal(number, signal.SIGSTOP)
        if self.home.database:
            return True
        connection = sqlite3.connect(self.home.directory / "airflow.db", timeout=3, isolation_level=None)
        with contextlib.closing(connection):
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
            except sqlite3.OperationalError:
                self.wake(number)
                return False
        return True

    def wake(self, number: int) -> None:
        self.signal(number, signal.SIGCONT)

    def kill(self, number: int) -> None:
        """As `kill -9` does."""
        self.signal(number, signal.SIGKILL)
        self.triggerers.pop(number).wait()

    def stop(self, number: int) -> None:
        """As a deployment does: it may give its tasks away."""
        process = self.triggerers.pop(number)
        process.terminate()
        process.wait(120)

    def let_go(self, name: str) -> None:
        (self.home.told / name).touch()

    # -- DAGs and their callbacks

    def read_again(self, *dag_ids: str) -> None:
        """Wait until the changed file of these DAGs has become another version of each."""
        before = self._versions(dag_ids)
        token = self.api.call("GET", f"/api/v2/dags/{dag_ids[0]}")["file_token"]
        self.api.call("PUT", f"/api/v2/parseDagFile/{token}")
        until(
            lambda: all(map(int.__lt__, before, self._versions(dag_ids))),
            lambda: f"other versions than {before} of {dag_ids}",
        )

    def _versions(self, dag_ids: Iterable[str]) -> list[int]:
        return [self.api.call("GET", f"/api/v2/dags/{each}/dagVersions")["total_entries"] for each in dag_ids]

    def pause(self, dag_id: str, paused: bool) -> None:
        self.api.call("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": paused})

    def called(self, dag_id: str) -> list[str]:
        """Task and moment of each callback of a DAG so far, sorted."""
        file = self.home.directory / "called"
        lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        return sorted(f"{task_id} {moment}" for dag, task_id, moment in lines if dag == dag_id)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def end_of_run(api: AirflowApi, run: Run) -> str:
    """Wait for the run's end; its state."""

    def state() -> Any:
        found = api.call("GET", f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}")["state"]
        return found if found in ("success", "failed") else None

    return str(until(state, lambda: f"the end of {run.dag_id}; {run.states()}"))


def open_gate(kube: Requests, pod: dict[str, Any]) -> None:
    """Let a pod start that waits behind a scheduling gate."""
    path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
    patch = [{"op": "remove", "path": "/spec/schedulingGates"}]
    headers = {"Content-Type": "application/json-patch+json"}
    status, answer = kube.call("PATCH", path, patch, headers=headers)
    assert status == 200, answer
