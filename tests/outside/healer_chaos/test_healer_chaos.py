"""The healer beside a whole Airflow while workers, triggerer, scheduler, healers and nodes are killed -9: afterwards no
orphan, no lost task, no wrong delete, and the history explains each action.

    script/test-healer-chaos                                200 tasks of both operators
    script/test-healer-chaos --healer-tasks 40 --fault-seed 7

What is true is judged by a watch of its own and by Airflow's own database (hchaos_seen, hchaos_judge).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "airflow_faults"))

from afault_chaos import Airflow  # noqa: E402
from airflow_api import Run  # noqa: E402
from airflow_deployment import environment, free_port, running_airflow  # noqa: E402
from airflow_home import AirflowHome  # noqa: E402
from hchaos_judge import Evidence, deeds_of, judge_deed, judge_logged, judge_orphans, judge_tasks, logged  # noqa: E402
from hchaos_kills import NODES, Chaos, Healers, Scene  # noqa: E402
from hchaos_seen import PodRecorder, Timeline  # noqa: E402
from hchaos_work import DEPLOYMENT, NAMESPACE, make_work, specification  # noqa: E402
from patience import until  # noqa: E402

from podbay.embedded.cluster import ClusterOptions  # noqa: E402
from podbay.embedded.scripted import ScriptedNode, ScriptedNodes  # noqa: E402
from podbay.testing import Environment  # noqa: E402
from podbay.testing.requests import Requests  # noqa: E402

RULES = {
    "deployment": DEPLOYMENT,
    "only_airflow": True,
    "young": 5,
    "finished": 20,
    "ended": 20,
    "absent": 20,
    # A scheduler that was killed clears tasks; the next one needs a while to give them out again.
    "cleared": 120,
    "superseded": 20,
    "terminating": 5,
    "lost": 120,
    "trigger": 120,
    "per_minute": 1000,
    # At the end nothing runs but orphans.
    "stop_share": 1.0,
}
CALM_SECONDS = 600.0
"""When nothing goes wrong any more, all have ended and all pods are gone after this."""


@dataclass(frozen=True, kw_only=True)
class ChaosHome(AirflowHome):
    """Of a deployment that notices deaths sooner than usual."""

    @property
    def dags(self) -> Path:
        return HERE / "dags"

    @property
    def specification(self) -> Path:
        return self.directory / "tasks.json"

    @property
    def database(self) -> Path:
        return self.directory / "airflow.db"

    @cached_property
    def _known(self) -> dict[str, str]:
        return super().settings()

    def settings(self) -> dict[str, str]:
        # The same secrets for every process, also for one that is started later.
        return self._known | {
            "HEALER_CHAOS": str(self.specification),
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "8",
            "AIRFLOW__PODBAY__DEPLOYMENT": DEPLOYMENT,
            "AIRFLOW__API__MAXIMUM_PAGE_LIMIT": "1000",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "30",
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
        }


@pytest.fixture
def cluster() -> Iterator[Environment]:
    nodes = [_node(name) for name in NODES]
    with Environment.start(ClusterOptions(nodes=nodes)) as found:
        with Requests(found.kubeconfig) as api:
            api.create_namespace(NAMESPACE)
        yield found


def _node(name: str) -> Any:
    capacity = {"pods": "500", "cpu": "400", "memory": "800Gi"}
    return lambda: ScriptedNodes([ScriptedNode(name=name, capacity=capacity)])


@contextlib.contextmanager
def _airflow(home: ChaosHome) -> Iterator[Airflow]:
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        with running_airflow(home, processes) as api:
            yield Airflow(home, environment(home), processes, api)
    finally:
        # Workers whose scheduler was killed, and their tasks, which have process groups of their own.
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("AIRFLOW_HOME") == str(home.directory):
                    os.kill(process.pid, signal.SIGKILL)


@pytest.fixture
def scene(
    request: pytest.FixtureRequest, cluster: Environment, tmp_path: Path
) -> Iterator[tuple[Scene, int]]:
    seed = request.config.getoption("--fault-seed") or random.SystemRandom().randrange(1_000_000)
    count = request.config.getoption("--healer-tasks")
    work = make_work(count, random.Random(seed), longest=15.0 if count < 50 else 60.0)
    print(f"\nThe healer's chaos: seed {seed}, {count} tasks, in {tmp_path}")
    home = ChaosHome(
        directory=tmp_path / "airflow",
        port=free_port(),
        kubeconfig=cluster.kubeconfig,
        sidecar_image="example.com/sidecar:1",
        worker_image=("example.com/worker", "1"),
    )
    home.directory.mkdir()
    home.specification.write_text(specification(work))
    words = [str(cluster.kubeconfig), NAMESPACE, home.url, json.dumps(RULES), str(home.directory / "logs")]
    healers = Healers(words, tmp_path / "healer.log")
    watching = Requests(cluster.kubeconfig)
    with _airflow(home) as airflow:
        recorder, timeline = PodRecorder(watching, NAMESPACE), Timeline(home.database)
        try:
            yield Scene(airflow, cluster.kubeconfig, healers, recorder, timeline, work), seed
        finally:
            healers.end()
            timeline.close()
            recorder.close()
            watching.__exit__(None, None, None)


def _trigger(scene: Scene) -> None:
    api = scene.airflow.api
    runs = sorted({(work.dag_id, work.run_id) for work in scene.work})
    for dag_id, run_id in runs:
        until(lambda dag_id=dag_id: api.has_dag(dag_id), seconds=400)  # type: ignore[misc]
        body = {"dag_run_id": run_id, "logical_date": None}
        api.call("POST", f"/api/v2/dags/{dag_id}/dagRuns", body)


def _open(scene: Scene) -> list[str]:
    """Task instances that have not ended."""
    return [
        f"{work.task_id} ({work.operator}, {work.place}) {now.state if now else None}"
        for work in scene.work
        if (now := scene.timeline.now(work.key)) is None or now.state not in (work.wanted, "absent", "failed")
    ]


def _there(scene: Scene) -> list[str]:
    return [life.pod["metadata"]["name"] for life in list(scene.recorder.lives.values()) if not life.gone]


def _wait(scene: Scene, chaos: Chaos) -> None:
    """Until the chaos is over, then calm until everything has ended."""
    deadline = time.monotonic() + 60.0 * 8 + 10.0 * len(scene.work)
    while time.monotonic() < deadline and not (chaos.over and len(_open(scene)) <= len(scene.work) // 50):
        time.sleep(1.0)
    chaos.stop()
    print(f"chaos: {dict(chaos.counts)}")
    deadline = time.monotonic() + CALM_SECONDS
    while (_open(scene) or _there(scene)) and time.monotonic() < deadline:
        time.sleep(0.5)


def test_no_orphan_no_lost_task_no_wrong_delete(scene: tuple[Scene, int]) -> None:
    found, seed = scene
    began = time.monotonic()
    for _ in range(2):
        found.healers.start()
    _trigger(found)
    chaos = Chaos(found, random.Random(seed + 1))
    chaos.start(span=60.0 + 1.5 * len(found.work))
    try:
        _wait(found, chaos)
    finally:
        chaos.stop()
    seconds = time.monotonic() - began
    with Requests(found.kubeconfig) as api:
        path = f"/api/v1/namespaces/{NAMESPACE}"
        _, pods = api.call("GET", f"{path}/pods")
        _, events = api.call("GET", f"{path}/events?labelSelector=podbay.dev%2Fhealer%3D{DEPLOYMENT}")
    left = [(pod["metadata"]["name"], pod["status"].get("phase")) for pod in pods["items"]]
    evidence = Evidence(found.recorder.lives, found.timeline, chaos.away, chaos.buried_at)
    deeds = deeds_of(events["items"])
    done = [deed for deed in deeds if deed.action != "Report"]
    print(_summary(found, deeds, seconds))
    wrong = [told for deed in done if (told := judge_deed(deed, evidence))]
    unexplained = judge_logged(found.healers.log, deeds) + judge_orphans(found.work, deeds, evidence)
    unexplained += _untold(found)
    lost = judge_tasks(found.work, found.timeline)
    for title, told in (("WRONG DELETE", wrong), ("UNEXPLAINED", unexplained), ("LOST", lost)):
        for each in told:
            print(title, each)
    assert not found.recorder.history_lost, "the judge has not seen everything"
    assert found.timeline.looks > seconds / 10, "the judge has not looked often enough"
    assert not chaos.trouble, chaos.trouble[0]
    assert not wrong, f"seed {seed}: {wrong}"
    assert not lost, f"seed {seed}: {lost}"
    assert not left, f"seed {seed}: orphans {left}"
    assert not unexplained, f"seed {seed}: {unexplained}"
    orphans = sum(work.place in ("marked", "removed") for work in found.work)
    assert len(done) >= orphans // 2, f"seed {seed}: the healer had {len(done)} things to do"


def _untold(scene: Scene) -> list[str]:
    """Tasks that somebody has marked failed, and whose own note and log do not say what became of their pods."""
    # One that was killed between the two has not said it.
    ended = {each["pod"] for each in logged(scene.healers.log) if each["check"] == "OwnerFinished"}
    wrong = []
    for work in scene.work:
        pods = {
            str(life.pod["metadata"]["name"])
            for life in scene.recorder.lives.values()
            if life.key == work.key and life.pod["metadata"]["name"] in ended
        }
        if work.place != "marked" or not pods:
            continue
        run = Run(scene.airflow.api, work.dag_id, work.run_id)
        fields = run.fields(work.task_id)
        log = run.log(work.task_id, fields["try_number"])
        for place, text in (("note", fields["note"] or ""), ("log", log)):
            if not any(f"Podbay's healer: pod {pod} was" in text for pod in pods):
                wrong.append(f"the {place} of {work} does not tell of {pods}: {text[-500:]}")
    return wrong


def _summary(scene: Scene, deeds: list[Any], seconds: float) -> str:
    tries = sum(
        max((each.try_number for each in changes), default=0) for changes in scene.timeline.changes.values()
    )
    states = Counter(now.state for work in scene.work if (now := scene.timeline.now(work.key)))
    done = Counter((deed.action, deed.check) for deed in deeds)
    return (
        f"{len(scene.work)} tasks in {seconds:.0f} s: {dict(states)}, {tries} tries, {len(scene.recorder.lives)} pods; "
        f"history: {dict(done)}"
    )
