"""Tasks of known size and time, one of them with two tries, on nodes that play pods by a script."""

from __future__ import annotations

import datetime
from typing import Any

from airflow.sdk import DAG
from kubernetes.client import models as k8s

from podbay import KubernetesPodOperator

SCRIPT = "scripted.podbay.dev/"


def task(name: str, script: dict[str, str], **parameters: Any) -> None:
    KubernetesPodOperator(
        task_id=name,
        namespace="scripted",
        image="example.com/task:1",
        node_selector={"podbay.dev/scripted": "true"},
        tolerations=[{"key": "podbay.dev/scripted", "operator": "Exists"}],
        annotations={SCRIPT + key: value for key, value in script.items()},
        container_resources=k8s.V1ResourceRequirements(requests={"cpu": "500m", "memory": "256Mi"}),
        **parameters,
    )


with DAG("podbay_used", schedule=None, start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)):
    task("steady", {"run-seconds": "4", "cpu": "100m", "memory": "64Mi"}, retries=0)
    task("worker", {"run-seconds": "1"}, retries=0, deferrable=False)
    task("twice", {"exit-code": "1"}, retries=1, retry_delay=datetime.timedelta(0))
    task("never", {"waiting-reason": "ErrImagePull"}, retries=0, startup_timeout_seconds=2)
