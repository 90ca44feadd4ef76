"""What goes wrong in Airflow's fault suite: kill -9 of triggerer, workers and cluster, faults of the API, deleted pods."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil
from afault_work import NAMESPACE, Key, Work
from airflow_api import AirflowApi, Run
from airflow_deployment import start_component
from airflow_home import AirflowHome
from fault_chaos import API_FAULTS, Admin, ServerProcess
from fault_judge import Recorder

__all__ = ["Airflow", "Chaos", "Done"]

AGENT = "podbay*"
"""The User-Agent of the client in Airflow's processes; the judge has another one."""
MOST_HITS = 2
"""Workers killed under one task; it has more retries."""
FAULTS_SECONDS = 8.0
"""After so long all faults of the API are lifted. They are counted in hits, and few clients would take minutes for them."""
_WORKER = re.compile(r"LocalExecutor: ([0-9a-f-]{36})")


@dataclass
class Airflow:
    """A running deployment whose parts may be killed."""

    home: AirflowHome
    env: Mapping[str, str]
    processes: dict[str, subprocess.Popen[bytes]]
    api: AirflowApi
    groups: list[int] = field(default_factory=list)
    """Process groups of triggerers that were killed, in which somebody may live on."""

    def instances(self, run: Run) -> list[dict[str, Any]]:
        path = f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances?limit=1000"
        found: list[dict[str, Any]] = self.api.call("GET", path)["task_instances"]
        return found

    def start_triggerer(self) -> None:
        self.processes["triggerer"] = start_component(self.home, dict(self.env), "triggerer")

    def busy_workers(self) -> dict[str, psutil.Process]:
        """LocalExecutor's workers that run a task, by the id of the task instance."""
        found = {}
        for worker in psutil.Process(self.processes["scheduler"].pid).children():
            if (uid := _runs(worker)) is not None:
                found[uid] = worker
        return found


def _runs(worker: psutil.Process) -> str | None:
    try:
        told = _WORKER.search(" ".join(worker.cmdline()))
    except psutil.Error:
        return None
    return told[1] if told is not None else None


@dataclass
class Done:
    """What was done."""

    counts: Counter[str] = field(default_factory=Counter)
    triggerers: list[float] = field(default_factory=list)
    """When a triggerer was killed, as seconds since the epoch."""
    hits: Counter[tuple[Key, int]] = field(default_factory=Counter)
    """Tries whose worker was killed."""
    deleted: set[str] = field(default_factory=set)
    """Uids of pods that somebody has asked to delete."""
    trouble: list[str] = field(default_factory=list)
    """Errors of the chaos itself."""


class Chaos:
    """Does one thing after the other, in a thread, until it is stopped."""

    def __init__(
        self,
        airflow: Airflow,
        server: ServerProcess,
        recorder: Recorder,
        run: Run,
        work: Mapping[Key, Work],
        rng: random.Random,
    ) -> None:
        self.done = Done()
        self._airflow, self._server, self._recorder, self._run = airflow, server, recorder, run
        self._work, self._rng = work, rng
        self._admin = Admin(server.kubeconfig)
        self._running_since: dict[str, float] = {}
        self._lifted = 0.0
        self._ways = ["triggerer", "triggerer's supervisor", "triggerer's runner"]
        rng.shuffle(self._ways)
        self._plan: list[tuple[float, Callable[[], None]]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._live, name="chaos")

    def start(self, *, span: float) -> None:
        """Spread the kills over `span` seconds."""
        size, rng = len(self._work), self._rng
        kills: list[tuple[Callable[[], None], int]] = [
            (self._kill_triggerer, 1 + size // 100),
            (self._restart_server, 1 + size // 100),
            (self._kill_worker, 2 + size // 15),
        ]
        for kill, count in kills:
            width = 1.0 / count
            self._plan += [(span * width * (n + rng.uniform(0.15, 0.85)), kill) for n in range(count)]
        self._plan.sort(key=lambda one: one[0])
        self._thread.start()

    def stop(self) -> None:
        """Everything works again when this returns."""
        self._stopped.set()
        self._thread.join()
        self._admin.call("DELETE", "/podbay.dev/v1/faults")
        self._admin.close()

    @property
    def over(self) -> bool:
        """All kills are done."""
        return not self._plan

    def _live(self) -> None:
        began = time.monotonic()
        while not self._stopped.wait(self._rng.uniform(0.2, 0.8)):
            try:
                self._turn(time.monotonic() - began)
            except Exception:  # noqa: BLE001 - it is told at the end; what was killed must be started again meanwhile
                self.done.trouble.append(traceback.format_exc())

    def _turn(self, elapsed: float) -> None:
        self._look_after_triggerer()
        self._delete_pods()
        if self._plan and self._plan[0][0] <= elapsed:
            self._plan.pop(0)[1]()
            return
        if elapsed - self._lifted > FAULTS_SECONDS:
            self._lifted = elapsed
            self._admin.call("DELETE", "/podbay.dev/v1/faults")
            return
        fault = self._rng.choice(API_FAULTS)(self._rng)
        fault["match"] = {"agent": AGENT, **fault.get("match", {})}
        code, answer = self._admin.call("POST", "/podbay.dev/v1/faults", fault)
        assert code < 300, answer
        self.done.counts[str(fault["do"])] += 1

    # -- Airflow

    def _look_after_triggerer(self) -> None:
        process = self._airflow.processes["triggerer"]
        if process.poll() is not None:
            self.done.counts["triggerer ended by itself"] += 1
            self.done.triggerers.append(time.time())
            self._airflow.groups.append(process.pid)
            self._airflow.start_triggerer()

    def _kill_triggerer(self) -> None:
        """Supervisor and runner are processes of their own, and each may die alone."""
        process = self._airflow.processes["triggerer"]
        runners = psutil.Process(process.pid).children(recursive=True)
        what = self._ways.pop()
        self._ways.insert(0, what)
        if what == "triggerer":
            os.killpg(process.pid, signal.SIGKILL)
        elif what == "triggerer's runner" and runners:
            runners[0].kill()
        else:
            process.kill()
        self.done.triggerers.append(time.time())
        self.done.counts[f"kill {what}"] += 1
        process.wait(timeout=120)
        self._airflow.groups.append(process.pid)
        self._stopped.wait(self._rng.uniform(0.0, 3.0))
        self._airflow.start_triggerer()

    def _kill_worker(self) -> None:
        """A worker that has a task, or the process of the task alone."""
        workers = self._airflow.busy_workers()
        by_id = {each["id"]: each for each in self._airflow.instances(self._run)}
        chosen = [uid for uid in workers if uid in by_id and self._may_hit(_key(by_id[uid]))]
        if not chosen:
            # Later, when there is one.
            if self._tries_left():
                self._plan.append((self._plan[-1][0] + 1.0 if self._plan else 0.0, self._kill_worker))
            return
        uid = self._rng.choice(chosen)
        worker, instance = workers[uid], by_id[uid]
        tasks = worker.children()
        alone = bool(tasks) and self._rng.random() < 0.4
        # An idle worker holds the lock of all workers' queue: its death would stop Airflow for good.
        if _runs(worker) != uid:
            return
        self.done.hits[(_key(instance), instance["try_number"])] += 1
        (tasks[0] if alone else worker).kill()
        self.done.counts["kill task process" if alone else "kill worker"] += 1

    def _may_hit(self, key: Key) -> bool:
        hits = sum(count for (hit, _), count in self.done.hits.items() if hit == key)
        return hits < MOST_HITS and self._work[key].place != "triggerer"

    def _tries_left(self) -> bool:
        self.done.counts["no worker to kill"] += 1
        return self.done.counts["no worker to kill"] < 200

    # -- the cluster

    def _restart_server(self) -> None:
        kill = self._rng.random() < 0.6
        self._server.stop(kill=kill)
        self._stopped.wait(self._rng.uniform(0.0, 5.0))
        self._server.start()
        self.done.counts["kill server" if kill else "stop server"] += 1

    def _delete_pods(self) -> None:
        now = time.monotonic()
        for pod in list(self._recorder.pods.values()):
            work = self._work.get((pod.task, pod.map_index))
            if work is None or work.deleted_after is None or pod.try_number != 1 or not pod.began:
                continue
            since = self._running_since.setdefault(pod.uid, now)
            if pod.uid in self.done.deleted or pod.end is not None or now - since < work.deleted_after:
                continue
            self.done.deleted.add(pod.uid)
            body = {"preconditions": {"uid": pod.uid}}
            self._admin.call("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods/{pod.name}", body)
            self.done.counts["delete pod"] += 1


def _key(instance: Mapping[str, Any]) -> Key:
    return instance["task_id"], instance["map_index"]
