"""DAGs in their stored form, and task instances that a triggerer makes of them."""

from __future__ import annotations

import json
import uuid
from typing import Any

from airflow.executors.workloads.task import TaskInstanceDTO
from airflow.jobs.triggerer_job_runner import TriggerRunner
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

__all__ = ["instance_of", "stored_form"]


def stored_form(dag: DAG) -> dict[str, Any]:
    """As it comes out of a database: equal, and never the same object."""
    found: dict[str, Any] = json.loads(json.dumps(DagSerialization.to_dict(dag)))
    return found


def instance_of(form: dict[str, Any], task_id: str, *, map_index: int = -1, priority_weight: int = 1) -> Any:
    """As a trigger gets it that the scheduler has started."""
    unknown = ("logical_date", "data_interval_start", "data_interval_end", "end_date", "partition_key")
    dag_id = form["dag"]["dag_id"]
    run = dict.fromkeys(unknown) | {
        "dag_id": dag_id,
        "run_id": "one",
        "run_after": "2026-01-01T00:00:00Z",
        "start_date": "2026-01-01T00:00:00Z",
        "run_type": "manual",
        "state": "running",
        "consumed_asset_events": [],
    }
    facts = TaskInstanceDTO(
        id=uuid.uuid4(),
        dag_version_id=uuid.uuid4(),
        task_id=task_id,
        dag_id=dag_id,
        run_id="one",
        try_number=1,
        map_index=map_index,
        pool_slots=1,
        queue="default",
        priority_weight=priority_weight,
    )
    return TriggerRunner.create_runtime_ti(facts, form, run)
