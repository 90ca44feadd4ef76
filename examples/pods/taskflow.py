"""A Python function in an image of its own, between two on a worker; results go from one to the next."""

from __future__ import annotations

from airflow.configuration import conf
from airflow.sdk import dag, task


@dag(schedule=None)
def taskflow():
    @task
    def extract() -> int:
        return 7

    # Upstream's: needs python and bash in the image. @task.pod needs python3 alone and takes no worker.
    @task.kubernetes(
        image="python:3.12",
        namespace=conf.get("kubernetes_executor", "namespace"),
        in_cluster=True,
        do_xcom_push=True,  # without it nothing is returned
        get_logs=True,
        log_events_on_failure=True,
    )
    def transform(value: int) -> int:
        return value * 23

    @task
    def load(value: int) -> None:
        print(value)

    load(transform(extract()))


taskflow()
