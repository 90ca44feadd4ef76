"""Tasks of every kind: in a pod, deferred to the triggerer, in a worker process; one of them fails, one is tried again.
Two are in_cluster, as where Airflow runs in pods."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG, task


def in_pod(name: str, script: str, **parameters: object) -> KubernetesPodOperator:
    return KubernetesPodOperator(
        task_id=name,
        name=name,
        image="localhost/bb:1",
        image_pull_policy="Never",
        cmds=["sh", "-c"],
        arguments=[script],
        startup_check_interval_seconds=1,
        poll_interval=1,
        termination_grace_period=1,
        **({"retries": 0} | parameters),
    )


with DAG("outcomes", params={"greeting": "hello"}, schedule="@daily"):
    first = in_pod("first", "echo {{ params.greeting }} on {{ ds }}", in_cluster=True)
    deferred = in_pod("deferred", "echo waiting; sleep 1", deferrable=True, in_cluster=True)
    failing = in_pod("failing", "echo about to fail; exit 3")
    again = in_pod(
        "again", "test {{ ti.try_number }} = 2", retries=1, retry_delay=timedelta(seconds=0), pool="unknown"
    )

    @task
    def doubled(number: int) -> int:
        if number == 3:
            raise ValueError("three is too much")
        return number * 2

    first >> [deferred, failing, again]
    doubled.expand(number=[1, 2, 3])
