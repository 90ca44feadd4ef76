"""What became of a task's pods: found by the labels that upstream's operator puts on them, and in the task's log."""

from __future__ import annotations

import re
from typing import Any

from airflow_api import Run, Task

from podbay.testing.requests import Requests

__all__ = ["lines_of", "pods_of"]


def pods_of(kube: Requests, namespace: str, run: Run, task_id: str) -> list[dict[str, Any]]:
    """The pods of a task of a run that still exist."""
    selector = f"dag_id%3D{run.dag_id},task_id%3D{task_id}"
    status, found = kube.call("GET", f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector}")
    assert status == 200, found
    items: list[dict[str, Any]] = found["items"]
    return items


def lines_of(task: Task, container: str) -> list[str]:
    """What a container wrote, as the task's log has it. The deferrable operator says "logs: " before each line."""
    return re.findall(rf"^\[{re.escape(container)}\] (?:logs: )?(.*)$", task.log, re.MULTILINE)
