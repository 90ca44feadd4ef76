"""One task that has ended, whose pod then comes back without an owner (test_healer_tells_airflow.py)."""

from __future__ import annotations

import datetime

from airflow.sdk import DAG

from podbay import KubernetesPodOperator

with DAG("healer_tells", schedule=None, start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)):
    KubernetesPodOperator(
        task_id="ended",
        retries=3,
        namespace="scripted",
        image="example.com/task:1",
        node_selector={"podbay.dev/scripted": "true"},
        tolerations=[{"key": "podbay.dev/scripted", "operator": "Exists"}],
        annotations={"scripted.podbay.dev/log": "the task's own line"},
    )
