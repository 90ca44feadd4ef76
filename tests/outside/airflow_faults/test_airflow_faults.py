"""Tasks in a whole Airflow under kill -9 and faults: no wrong state, no orphan, no duplicate, no line lost.

    script/test-airflow-faults                                300 tasks
    script/test-airflow-faults --fault-tasks 60 --fault-seed 7

What is true is judged by a watch of its own and by Airflow's own database and log files (afault_judge).
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import pytest
from afault_chaos import Airflow, Chaos
from afault_judge import Told, judge, log_events
from afault_work import DAG_ID, NAMESPACE, Key, Work, make_work, specification
from airflow_api import Run
from airflow_deployment import environment, free_port, running_airflow
from airflow_home import AirflowHome
from fault_chaos import ServerProcess
from fault_judge import Recorder, Seen
from patience import until

from podbay.airflow.running.tasklog import log_files
from podbay.testing.requests import Requests

CALM_SECONDS = 400.0
"""When nothing goes wrong any more, all have ended after this."""


@dataclass(frozen=True, kw_only=True)
class FaultHome(AirflowHome):
    """Of a deployment that notices deaths sooner than usual."""

    @property
    def dags(self) -> Path:
        return Path(__file__).parent / "dags"

    @property
    def specification(self) -> Path:
        return self.directory / "tasks.json"

    @cached_property
    def _known(self) -> dict[str, str]:
        return super().settings()

    def settings(self) -> dict[str, str]:
        # The same secrets for every process, also for one that is started later.
        return self._known | {
            "AIRFLOW_FAULTS": str(self.specification),
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "6",
            "AIRFLOW__PODBAY__DEPLOYMENT": "faults",
            "AIRFLOW__API__MAXIMUM_PAGE_LIMIT": "1000",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "40",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
        }


@dataclass
class Suite:
    """One Airflow on one cluster, and what is random about it."""

    seed: int
    work: list[Work]
    server: ServerProcess
    airflow: Airflow
    longest: float


@pytest.fixture
def suite(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Suite]:
    seed = request.config.getoption("--fault-seed") or random.SystemRandom().randrange(1_000_000)
    count = request.config.getoption("--fault-tasks")
    longest = 5.0 if count <= 30 else 25.0
    work = make_work(count, random.Random(seed), longest=longest)
    print(f"\nAirflow's fault suite: seed {seed}, {count} tasks, in {tmp_path}")
    (tmp_path / "cluster").mkdir()
    server = ServerProcess(tmp_path / "cluster")
    try:
        with Requests(server.kubeconfig) as api:
            api.create_namespace(NAMESPACE)
        home = FaultHome(
            directory=tmp_path / "airflow",
            port=free_port(),
            kubeconfig=server.kubeconfig,
            sidecar_image="example.com/sidecar:1",
            worker_image=("example.com/worker", "1"),
        )
        home.directory.mkdir()
        home.specification.write_text(specification(work))
        with _airflow(home) as airflow:
            yield Suite(seed, work, server, airflow, longest)
    finally:
        server.stop()


@contextlib.contextmanager
def _airflow(home: FaultHome) -> Iterator[Airflow]:
    processes: dict[str, subprocess.Popen[bytes]] = {}
    groups: list[int] = []
    try:
        with running_airflow(home, processes) as api:
            yield Airflow(home, environment(home), processes, api, groups)
    finally:
        for group in groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        for process in _of_home(home):
            with contextlib.suppress(psutil.Error):
                process.kill()


def _of_home(home: AirflowHome) -> list[psutil.Process]:
    """What of this Airflow still lives: a worker's task has a process group of its own."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("AIRFLOW_HOME") == str(home.directory):
                found.append(process)
    return found


def play(suite: Suite, recorder: Recorder) -> tuple[Run, Chaos]:
    """One run of all tasks, with chaos until nearly all have ended."""
    api = suite.airflow.api
    until(lambda: api.has_dag(DAG_ID), seconds=300)
    run = api.trigger(DAG_ID)
    rng = random.Random(suite.seed + 1)
    work = {each.key: each for each in suite.work}
    chaos = Chaos(suite.airflow, suite.server, recorder, run, work, rng)
    chaos.start(span=suite.longest + 0.5 * len(work))
    try:
        deadline = time.monotonic() + 20 * suite.longest + 2 * len(work)
        while time.monotonic() < deadline:
            pending = _pending(suite.airflow, run)
            if len(pending) <= len(work) // 50:
                break
            time.sleep(1)
    finally:
        chaos.stop()
    print(f"faults: {dict(chaos.done.counts)}")
    deadline = time.monotonic() + CALM_SECONDS
    while (pending := _pending(suite.airflow, run)) and time.monotonic() < deadline:
        time.sleep(0.5)
    print(f"not ended: {pending}" if pending else "all have ended")
    return run, chaos


def _pending(airflow: Airflow, run: Run) -> list[str]:
    ended = ("success", "failed", "skipped", "upstream_failed")
    found = airflow.instances(run)
    named = [f"{each['task_id']}[{each['map_index']}] {each['state']}" for each in found]
    return [text for text, each in zip(named, found, strict=True) if each["state"] not in ended]


def told_of(suite: Suite, run: Run) -> list[Told]:
    """What Airflow says, from its API and from its log files."""
    instances: dict[Key, dict[str, Any]] = {
        (each["task_id"], each["map_index"]): each for each in suite.airflow.instances(run)
    }
    found = []
    for work in suite.work:
        task_id, index = work.key
        instance = instances[work.key]
        tries = instance["try_number"]
        path = f"/api/v2/dags/{DAG_ID}/dagRuns/{run.run_id}/taskInstances/{task_id}"
        history = suite.airflow.api.call("GET", f"{path}/{index}/tries" if index >= 0 else f"{path}/tries")
        states = {each["try_number"]: str(each["state"]) for each in history["task_instances"]}
        logs = suite.airflow.home.directory / "logs"
        events = {
            number: log_events(log_files(logs, DAG_ID, run.run_id, task_id, index, number))
            for number in range(1, tries + 1)
        }
        result = run.xcom(task_id, "return_value", map_index=index)
        found.append(Told(work, str(instance["state"]), tries, states, result, events))
    return found


def test_airflow_under_faults(suite: Suite, request: pytest.FixtureRequest) -> None:
    watching = Requests(suite.server.kubeconfig)
    recorder = Recorder(watching, NAMESPACE)
    began = time.monotonic()
    run, chaos = play(suite, recorder)
    seconds = time.monotonic() - began
    left = _nothing_left(suite)
    time.sleep(1.0)
    recorder.close()
    watching.__exit__(None, None, None)
    assert not recorder.history_lost, "the judge has not seen everything"
    told = told_of(suite, run)
    pods: dict[Key, list[Seen]] = defaultdict(list)
    for pod in recorder.pods.values():
        pods[(pod.task, pod.map_index)].append(pod)
    wrong = [
        (each.work, each.states, found, pods[each.work.key])
        for each in told
        if (found := judge(each, pods[each.work.key], chaos.done))
    ]
    print(_summary(told, recorder, chaos, seconds))
    for one in wrong:
        print("WRONG", *one, sep="\n    ")
    assert not chaos.done.trouble, chaos.done.trouble[0]
    assert not wrong, f"seed {suite.seed}: {len(wrong)} tasks: {[(one[0].key, one[2]) for one in wrong]}"
    assert not left, f"seed {suite.seed}: orphans {left}"


def _nothing_left(suite: Suite) -> Sequence[str]:
    """Names of the pods that are there for good: none of them may be kept."""
    deadline = time.monotonic() + 60
    while True:
        with Requests(suite.server.kubeconfig) as api:
            code, answer = api.call("GET", f"/api/v1/namespaces/{NAMESPACE}/pods")
        assert code == 200, answer
        left = [pod["metadata"]["name"] for pod in answer["items"]]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.5)


def _summary(told: Sequence[Told], recorder: Recorder, chaos: Chaos, seconds: float) -> str:
    states = Counter(each.state for each in told)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (
        f"{len(told)} tasks in {seconds:.0f} s: {dict(states)}, {sum(each.tries for each in told)} tries, "
        f"{len(recorder.pods)} pods, {sum(each.lines for each in told)} lines, "
        f"{sum(each.doubled for each in told)} of them a second time; {sum(chaos.done.hits.values())} tries lost "
        f"their worker; {used.ru_utime + used.ru_stime:.0f} CPU-s of what was killed"
    )
