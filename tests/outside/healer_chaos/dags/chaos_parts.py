"""What both DAG files of the healer's chaos have in common."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

SPEC = json.loads(Path(os.environ["HEALER_CHAOS"]).read_text())
SHARED: dict[str, Any] = {
    "namespace": "healer-chaos",
    "image": "example.com/task:1",
    "termination_grace_period": 1,
    "retry_delay": datetime.timedelta(seconds=1),
    # Only what is done to a task may end it, never that the machine is slow.
    "startup_timeout_seconds": 3600,
    "schedule_timeout_seconds": 3600,
}


def make_dags(operator: str, make: Any) -> None:
    for dag_id in (operator, f"{operator}_removed"):
        tasks = [each for each in SPEC if each["dag_id"] == dag_id]
        with DAG(
            dag_id,
            schedule=None,
            start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
            # LocalExecutor hands tasks to its workers through a pipe, and waits for ever on a full one whose readers are
            # dead. Tasks in the triggerer do not count.
            max_active_tasks=12,
        ):
            for each in tasks:
                make(
                    task_id=each["task_id"],
                    annotations={"scripted.podbay.dev/run-seconds": str(each["run_seconds"])},
                    retries=20 if each["place"] in ("deferred", "worker") else 0,
                    deferrable=each["place"] not in ("worker", "doomed"),
                    **SHARED,
                )
