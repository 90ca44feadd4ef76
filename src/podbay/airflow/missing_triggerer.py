"""Says in the note of a run that no triggerer runs: tasks that start there would wait in silence, as Airflow says nothing.

A plugin of the scheduler (entry point `airflow.plugins`), asked once for each run that starts. It must never harm a run that has nothing to
do with Podbay, and is imported by every process of Airflow: so it imports little, and late.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

__all__ = ["MissingTriggererPlugin", "TriggererListener", "sentence"]

_log = logging.getLogger(__name__)
_OURS: Final = "podbay."


class TriggererListener:
    """Of one scheduler."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @hookimpl  # type: ignore[untyped-decorator]
    def on_dag_run_running(self, dag_run: Any, msg: str) -> None:
        """A run starts, in the scheduler's own transaction."""
        from airflow.configuration import conf

        threshold = conf.getint("triggerer", "triggerer_health_check_threshold")
        # Where all of Airflow has just been started, a triggerer may still be on its way.
        if msg != "started" or time.monotonic() - self._began < threshold or not _waits(dag_run.dag):
            return
        if _has_triggerer(dag_run, threshold):
            return
        said = sentence(threshold)
        _log.warning("%s %s: %s", dag_run.dag_id, dag_run.run_id, said)
        if dag_run.note is None:
            dag_run.note = said


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


class MissingTriggererPlugin(AirflowPlugin):
    """What the entry point names."""

    name = "podbay_missing_triggerer"
    listeners: ClassVar[list[Any]] = [TriggererListener()]
