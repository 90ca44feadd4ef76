"""The DAG of Airflow's fault suite, made from what the suite has written down for it."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from podbay import KubernetesPodOperator

SPEC = json.loads(Path(os.environ["AIRFLOW_FAULTS"]).read_text())
SHARED: dict[str, Any] = {
    "namespace": "faults",
    "image": "example.com/task:1",
    "termination_grace_period": 2,
    "retry_delay": datetime.timedelta(seconds=1),
    # Only what is done to a task may end it, never that the machine is slow.
    "startup_timeout_seconds": 3600,
    "schedule_timeout_seconds": 3600,
    "infrastructure_retries": 8,
}


def noted(_context: Any) -> None:
    """A callback, which only a worker can run."""


def special(place: str) -> dict[str, Any]:
    if place == "finished on a worker":
        return {"on_success_callback": noted}
    return {"pre_execute": noted} if place == "started on a worker" else {}


with DAG(
    "airflow_faults",
    schedule=None,
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    max_active_tasks=len(SPEC["tasks"]) + len(SPEC["mapped"]),
):
    for one in SPEC["tasks"]:
        KubernetesPodOperator(
            task_id=one["task_id"],
            annotations=one["annotations"],
            **SHARED,
            **special(one["place"]),
            **one["given"],
        )
    KubernetesPodOperator.partial(task_id="mapped", retries=SPEC["retries"], **SHARED).expand(
        annotations=SPEC["mapped"]
    )
