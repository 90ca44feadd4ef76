"""For a deployment that adopts upstream's operator, and whose triggerer dies."""

from __future__ import annotations

import datetime
from typing import Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator as UpstreamOperator
from airflow.sdk import DAG
from airflow.triggers.base import StartTriggerArgs

from podbay import KubernetesPodOperator

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
RESULT = "/airflow/xcom/return.json"
SHARED: dict[str, Any] = {"namespace": "containers", "image": "localhost/bb:1", "retries": 0}
COUNTS = (
    f"i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); sleep 0.2; done; echo '\"'$0'\"' > {RESULT}"
)


class Poisoned(KubernetesPodOperator):
    """Its trigger is given what it cannot read."""

    start_from_trigger = True
    start_trigger_args = StartTriggerArgs(
        trigger_cls="podbay.airflow.triggers.PodTrigger",
        trigger_kwargs={"spec": "nothing of ours", "more": 1},
        next_method="finish",
    )


with DAG("handed_over", schedule=None, start_date=START):
    KubernetesPodOperator(
        task_id="ours", cmds=["sh", "-c", COUNTS], arguments=["ours"], do_xcom_push=True, **SHARED
    )
    UpstreamOperator(
        task_id="adopted", cmds=["sh", "-c", COUNTS], arguments=["adopted"], do_xcom_push=True, **SHARED
    )
    UpstreamOperator.partial(
        task_id="mapped", cmds=["sh", "-c", f"echo '\"'$0'\"' > {RESULT}"], do_xcom_push=True, **SHARED
    ).expand(arguments=[["x"], ["{{ dag.dag_id }}"]])
    UpstreamOperator(
        task_id="called", cmds=["echo", "work"], on_success_callback=lambda _: print("callback"), **SHARED
    )
    Poisoned(task_id="poisoned", cmds=["true"], **SHARED)
