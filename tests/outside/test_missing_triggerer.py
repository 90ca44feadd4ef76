"""A run that waits for a triggerer says so in its note, from its start or later; nothing is said of runs that need none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import datetime, sys, time
from pathlib import Path

from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.api.common.trigger_dag import trigger_dag
from airflow.jobs.job import Job
from airflow.listeners.listener import get_listener_manager
from airflow.models.dagbag import DBDagBag
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import Trigger
from airflow.utils.session import create_session
from airflow.utils.types import DagRunTriggeredByType
from sqlalchemy import select, update
from airflow.models.dag import DagModel
from podbay.airflow.missing_triggerer import MissingTriggererPlugin

get_listener_manager()
file = Path(sys.argv[1])
DagBundlesManager().sync_bundles_to_db()
bag = BundleDagBag(str(file), bundle_path=file.parent, bundle_name="dags-folder")
sync_bag_to_db(bag, "dags-folder", None)
time.sleep(1)

def started(dag_id, name):
    with create_session() as session:
        session.execute(update(DagModel).values(is_paused=False))
    trigger_dag(dag_id, triggered_by=DagRunTriggeredByType.CLI, run_id=name)
    with create_session() as session:
        run = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == name))
        run.dag = DBDagBag().get_dag_for_run(run, session=session)
        run.state = "running"
        run.notify_dagrun_state_changed(msg="started")
    with create_session() as session:
        run = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == name))
        print("NOTE", dag_id, name, run.note)

started("pods", "alone")
started("none", "alone")
with create_session() as session:
    now = datetime.datetime.now(datetime.UTC)
    job = Job(state="running", latest_heartbeat=now + datetime.timedelta(minutes=5), start_date=now)
    job.job_type = "TriggererJob"
    session.add(job)
    session.flush()
    job_id = job.id
started("pods", "together")

def waits(dag_id, name, classpath):
    # Its task is in the triggerer.
    with create_session() as session:
        trigger = Trigger(classpath=classpath, kwargs={})
        session.add(trigger)
        session.flush()
        task = TaskInstance.dag_id == dag_id, TaskInstance.run_id == name
        session.execute(update(TaskInstance).where(*task).values(state="deferred", trigger_id=trigger.id))

def later(dag_id, name, seconds):
    # What its note says then, or as soon as it says something.
    until = time.monotonic() + seconds
    found = None
    while found is None and time.monotonic() < until:
        time.sleep(0.5)
        with create_session() as session:
            run = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == name))
            found = run.note
    print("NOTE", dag_id, name, "later", found)

def reported(ago):
    with create_session() as session:
        when = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=ago)
        session.execute(update(Job).where(Job.id == job_id).values(latest_heartbeat=when))

waits("pods", "together", "podbay.airflow.triggers.PodTrigger")
later("pods", "together", 4)
reported(60)
later("pods", "together", 60)
listener = MissingTriggererPlugin.listeners[0]
listener._began = float("inf")
started("pods", "early")
listener._began = time.monotonic()
waits("pods", "early", "podbay.airflow.triggers.PodTrigger")
started("none", "others")
waits("none", "others", "others.Trigger")
later("pods", "early", 60)
later("none", "others", 1)
"""
LATER = (
    "No triggerer has reported for 2 s, and tasks of this run wait for one. "
    "Start it (`airflow triggerer`), or see in its log why it ends."
)
DAGS = """
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from podbay import KubernetesPodOperator

with DAG("pods"):
    KubernetesPodOperator(task_id="pod", image="i")
with DAG("none"):
    EmptyOperator(task_id="nothing")
"""


def test_a_run_that_waits_for_a_triggerer_says_so(tmp_path: Path) -> None:
    file = tmp_path / "dags" / "waits.py"
    file.parent.mkdir()
    file.write_text(DAGS)
    env = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW")}
    env |= {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__DAGS_FOLDER": str(file.parent),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "1",
        "PYTHONWARNINGS": "ignore",
    }
    for words in (["-m", "airflow", "db", "migrate"], ["-c", PROGRAM, str(file)]):
        done = subprocess.run(
            [sys.executable, *words], env=env, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stderr[-4000:]
    notes = [line.removeprefix("NOTE ") for line in done.stdout.splitlines() if line.startswith("NOTE ")]
    assert notes == [
        "pods alone No triggerer has reported for 1 s, and tasks of this run wait for one. "
        "Start it (`airflow triggerer`), or see in its log why it ends.",
        "none alone None",
        "pods together None",
        # One that ends later.
        "pods together later None",
        f"pods together later {LATER}",
        # One that does not come, where all of Airflow has just been started.
        "pods early None",
        "none others None",
        f"pods early later {LATER}",
        "none others later None",
    ]


FORKS = """
import os, threading, time
from podbay.airflow.missing_triggerer import forks_wait

lock, holds = threading.Lock(), threading.Event()
forks_wait(lock)

def look():
    with lock:
        holds.set()
        time.sleep(0.5)

for _ in range(2):
    holds.clear()
    threading.Thread(target=look, daemon=True).start()
    holds.wait()
    began = time.monotonic()
    child = os.fork()
    if not child:
        os._exit(0 if lock.acquire(blocking=False) else 7)
    assert 0.4 < time.monotonic() - began < 4
    assert os.waitpid(child, 0)[1] == 0
    assert lock.acquire(blocking=False)
    lock.release()
print("DONE")
"""


def test_no_worker_is_forked_in_the_middle_of_a_look() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "DONE\n", done.stderr
