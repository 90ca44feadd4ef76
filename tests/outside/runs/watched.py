"""One pod that never ends by itself, whether it can start or not."""

from __future__ import annotations

from airflow.sdk import DAG

from podbay import KubernetesPodOperator

with DAG("watched"):
    KubernetesPodOperator(
        task_id="endless",
        in_cluster=True,
        image="localhost/bb:1",
        image_pull_policy="Never",
        cmds=["sleep", "1000"],
        termination_grace_period=1,
        startup_timeout_seconds=3600,
        schedule_timeout_seconds=3600,
    )
