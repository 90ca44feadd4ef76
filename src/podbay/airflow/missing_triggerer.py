"""Says in the note of a run that no triggerer runs: tasks that start there would wait in silence, as Airflow says nothing.

A plugin of the scheduler (entry point `airflow.plugins`), asked once for each run that starts. From the first run on that
has such tasks, it also looks now and then, for triggerers that never come, or end while tasks wait. It must never harm a run
that has nothing to do with Podbay, and is imported by every process of Airflow: so it imports little, and late.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

__all__ = ["MissingTriggererPlugin", "TriggererListener", "forks_wait", "sentence"]

_log = logging.getLogger(__name__)
_OURS: Final = "podbay."
_LONGER: Final = 2
"""Thresholds until it is said of a run that waits: a triggerer that is only replaced is back before."""
_LOOKS: Final = 6
"""Within that time."""
_MOST_RUNS: Final = 100
"""At one look."""
_FORK_SECONDS: Final = 5.0


class TriggererListener:
    """Of one scheduler."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._watch: threading.Thread | None = None
        self._looking = threading.Lock()

    @hookimpl  # type: ignore[untyped-decorator]
    def on_dag_run_running(self, dag_run: Any, msg: str) -> None:
        """A run starts, in the scheduler's own transaction."""
        from airflow.configuration import conf

        threshold = conf.getint("triggerer", "triggerer_health_check_threshold")
        if msg != "started" or not _waits(dag_run.dag):
            return
        self._look_now_and_then(threshold * _LONGER)
        # Where all of Airflow has just been started, a triggerer may still be on its way.
        if time.monotonic() - self._began < threshold or _has_triggerer(dag_run, threshold):
            return
        said = sentence(threshold)
        _log.warning("%s %s: %s", dag_run.dag_id, dag_run.run_id, said)
        if dag_run.note is None:
            dag_run.note = said

    def _look_now_and_then(self, patience: int) -> None:
        if self._watch is None:
            forks_wait(self._looking)
            self._watch = threading.Thread(
                target=self._keep_looking, args=(patience,), name="podbay-missing-triggerer", daemon=True
            )
            self._watch.start()

    def _keep_looking(self, patience: int) -> None:
        from sqlalchemy.exc import SQLAlchemyError

        missed = 0
        while True:
            time.sleep(patience / _LOOKS)
            if time.monotonic() - self._began < patience:
                continue
            try:
                with self._looking:
                    missed = 0 if _has_reported(patience) else missed + 1
                    # A machine that slept wakes up with everybody's reports grown old.
                    if missed > 1:
                        _tell_waiting(sentence(patience))
            except SQLAlchemyError as error:
                # A database that is away, or another scheduler that has said it meanwhile.
                _log.debug("Whether a triggerer runs could not be asked: %s", error)
            except Exception:  # noqa: BLE001 - Airflow may be built otherwise, and it must not suffer from this
                _log.warning("Whether a triggerer runs is not looked at any more", exc_info=True)
                return


def forks_wait(lock: threading.Lock) -> None:
    """Until who holds it lets it go, for a while: the scheduler forks its workers, and one that is made while another thread
    asks the database would inherit a log's or a driver's own locks, which nobody there opens."""
    held: list[bool] = []

    def let_go() -> None:
        if held.pop():
            lock.release()

    os.register_at_fork(
        before=lambda: held.append(lock.acquire(timeout=_FORK_SECONDS)),
        after_in_parent=let_go,
        after_in_child=let_go,
    )


def sentence(threshold: int) -> str:
    return (
        f"No triggerer has reported for {threshold} s, and tasks of this run wait for one. Start it (`airflow triggerer`), "
        "or see in its log why it ends."
    )


def _waits(dag: Any) -> bool:
    """Some task of ours, or one that starts in the triggerer."""
    return any(
        getattr(task, "start_from_trigger", False) or str(getattr(task, "task_module", "")).startswith(_OURS)
        for task in getattr(dag, "tasks", ())
    )


def _has_triggerer(dag_run: Any, threshold: int) -> bool:
    from airflow.jobs.job import Job
    from sqlalchemy import select
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    if session is None:
        return True
    alive = select(Job.id).where(
        Job.job_type == "TriggererJob",
        Job.end_date.is_(None),
        Job.latest_heartbeat > datetime.now(UTC) - timedelta(seconds=threshold),
    )
    return session.scalar(alive.limit(1)) is not None


def _has_reported(seconds: int) -> bool:
    """Also one that has ended since: another may follow it."""
    from airflow.jobs.job import Job
    from airflow.utils.session import create_session
    from sqlalchemy import select

    since = datetime.now(UTC) - timedelta(seconds=seconds)
    lately = select(Job.id).where(Job.job_type == "TriggererJob", Job.latest_heartbeat > since)
    with create_session(scoped=False) as session:
        return session.scalar(lately.limit(1)) is not None


def _tell_waiting(said: str) -> None:
    """In the notes of runs that have none yet and whose tasks wait in the triggerer for our triggers."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session
    from sqlalchemy import select

    waiting = (
        select(TaskInstance.id)
        .join(Trigger, Trigger.id == TaskInstance.trigger_id)
        .where(TaskInstance.dag_id == DagRun.dag_id, TaskInstance.run_id == DagRun.run_id)
        .where(TaskInstance.state == "deferred", Trigger.classpath.startswith(_OURS))
        .exists()
    )
    runs = select(DagRun).where(DagRun.state == "running", ~DagRun.dag_run_note.has(), waiting)
    with create_session(scoped=False) as session:
        for dag_run in session.scalars(runs.limit(_MOST_RUNS)):
            _log.warning("%s %s: %s", dag_run.dag_id, dag_run.run_id, said)
            dag_run.note = said


class MissingTriggererPlugin(AirflowPlugin):
    """What the entry point names."""

    name = "podbay_missing_triggerer"
    listeners: ClassVar[list[Any]] = [TriggererListener()]
