"""10,000 mapped tasks for `podbay run`, on the nodes of ten_thousand.yaml, which play pods of five seconds."""

import datetime

from airflow.sdk import DAG

from podbay import KubernetesPodOperator

with DAG(
    "ten_thousand",
    schedule=None,
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    max_active_tasks=10_000,
):
    KubernetesPodOperator.partial(
        task_id="each",
        image="example.com/task:1",
        retries=0,
        annotations={
            "scripted.podbay.dev/run-seconds": "5",
            "scripted.podbay.dev/log": "first\nsecond",
        },
        node_selector={"podbay.dev/scripted": "true"},
        tolerations=[{"key": "podbay.dev/scripted", "operator": "Exists"}],
    ).expand(arguments=[[str(number)] for number in range(10_000)])
