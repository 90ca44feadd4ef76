"""Holds the pods of deferrable tasks back until the scheduler knows that the first half of each task has ended.

Airflow 3.3 takes the executor's report about the first half for one about the second when the trigger fires sooner
("finished with state success, but the task instance's state attribute is queued") and fails the task. Pods that end in
a fraction of a second would meet that on a busy machine, so they wait behind a scheduling gate of Kubernetes.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from airflow_api import Run
from pods_of_tasks import pods_of

from podbay.testing.requests import Requests

__all__ = ["open_gates"]

SECONDS = 400.0
_ENDED = re.compile(
    r"Received executor event with state success for task instance "
    r"TaskInstanceKey\(dag_id='[^']*', task_id='([^']*)', run_id='([^']*)'"
)


def open_gates(run: Run, kube: Requests, namespace: str, scheduler_log: Path) -> None:
    """Let every task's pod go once its first half is over. Raises TimeoutError with the tasks that did not defer."""
    deadline = time.monotonic() + SECONDS
    waiting = set(run.states())
    while waiting:
        found = _ENDED.findall(scheduler_log.read_text(errors="replace"))
        for task_id in sorted(waiting & {task for task, run_id in found if run_id == run.run_id}):
            for pod in pods_of(kube, namespace, run, task_id):
                _open(kube, pod["metadata"]["namespace"], pod["metadata"]["name"])
            waiting.remove(task_id)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{run.dag_id}: not deferred after {SECONDS:.0f} s: {waiting}; {run.states()}")
        time.sleep(0.2)


def _open(kube: Requests, namespace: str, name: str) -> None:
    status, answer = kube.call(
        "PATCH",
        f"/api/v1/namespaces/{namespace}/pods/{name}",
        [{"op": "remove", "path": "/spec/schedulingGates"}],
        headers={"Content-Type": "application/json-patch+json"},
    )
    assert status == 200, answer
