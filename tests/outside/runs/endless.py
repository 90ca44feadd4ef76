"""Tasks that never end by themselves: in a pod, deferred, and as a process."""

from __future__ import annotations

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG("endless", default_args={"retries": 3}):
    for name, deferrable in (("in-worker", False), ("in-triggerer", True)):
        KubernetesPodOperator(
            task_id=name,
            name=name,
            image="localhost/bb:1",
            image_pull_policy="Never",
            cmds=["sh", "-c"],
            arguments=["trap 'exit 0' TERM; echo started; sleep 1000 & wait"],
            startup_check_interval_seconds=1,
            poll_interval=1,
            deferrable=deferrable,
        )
    BashOperator(task_id="as-process", bash_command="sleep 1000")
