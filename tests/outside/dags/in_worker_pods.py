"""Airflow's KubernetesExecutor: each task is Python in a worker pod of its own."""

from __future__ import annotations

import datetime
import time

from airflow.sdk import DAG, task

with DAG(
    "worker_pods",
    schedule=None,
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    default_args={"executor": "KubernetesExecutor", "retries": 0},
):

    @task
    def first() -> int:
        return 20

    @task
    def second(before: int) -> int:
        return before + 22

    @task
    def fails() -> None:
        raise ValueError("on purpose")

    @task
    def waits() -> None:
        time.sleep(600)

    second(first())
    fails()
    waits()
