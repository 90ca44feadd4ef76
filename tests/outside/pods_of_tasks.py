"""What became of a task's pods: found by the labels that upstream's operator puts on them, and in the task's log."""

from __future__ import annotations

import re
import time
from typing import Any

from airflow_api import Run, Task

from podbay.testing.requests import Requests

__all__ = ["lines_of", "pods_of", "wait_for_pod"]


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


def wait_for_pod(
    kube: Requests, namespace: str, run: Run, task_id: str, *, phase: str | None, seconds: float = 400
) -> dict[str, Any]:
    """Wait for the task's one pod to be in a phase; None waits until it is gone. Raises TimeoutError with the pods."""
    deadline = time.monotonic() + seconds
    while True:
        found = pods_of(kube, namespace, run, task_id)
        if phase is None and not found:
            return {}
        if len(found) == 1 and found[0]["status"]["phase"] == phase:
            return found[0]
        if time.monotonic() > deadline:
            raise TimeoutError(f"pods of {task_id} after {seconds:.0f} s, waiting for {phase}: {found}")
        time.sleep(0.1)
