"""A task that has 0.8 CPU and 3 GiB for itself: requests that equal the limits make it the last to be evicted."""

from __future__ import annotations

from airflow.configuration import conf
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG
from kubernetes.client import models as k8s

SIZE = {"cpu": "800m", "memory": "3Gi", "ephemeral-storage": "1Gi"}

with DAG("sized", schedule=None):
    KubernetesPodOperator(
        task_id="sized_task",
        namespace=conf.get("kubernetes_executor", "namespace"),
        image="python:3.12-slim",
        cmds=["python", "-c"],
        arguments=["print('sized')"],
        # Not resources=, which is Airflow's own and knows no pods.
        container_resources=k8s.V1ResourceRequirements(requests=SIZE, limits=SIZE),
        in_cluster=True,
    )
