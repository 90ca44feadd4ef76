"""Tasks that need more memory than they ask for, begun in each of the three places; namespace and sizes by a podbay.yaml."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.configuration import conf
from airflow.sdk import DAG

from podbay import KubernetesPodOperator

# Forty million bytes in one line, which tail keeps whole.
NEEDS = "head -c 40000000 /dev/zero | tail -n 1 | wc -c"


def begun(context: Any) -> None:
    """What only a worker can run, before the pod."""


def grows(name: str, **parameters: Any) -> None:
    KubernetesPodOperator(
        task_id=name,
        namespace=conf.get("kubernetes", "NAMESPACE"),
        image="localhost/bb:1",
        image_pull_policy="Never",
        cmds=["sh", "-c"],
        arguments=[f"set -o pipefail; {NEEDS}"],
        container_resources={"limits": {"cpu": "200m", "memory": "32Mi"}},
        # One is enough where Airflow does not lose a try to a machine that is too slow for it.
        retries=3,
        retry_delay=timedelta(0),
        **parameters,
    )


with DAG("follows", schedule=None):
    grows("triggerer")
    grows("worker", deferrable=False)
    grows("begun", on_execute_callback=begun)
