"""A task in the image that Airflow itself runs in: its packages, in a pod of its own."""

from __future__ import annotations

import os

from airflow.configuration import conf
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG
from kubernetes.client import models as k8s

# Astro sets the variable. Elsewhere set it for Airflow's processes, or write the image down.
IMAGE = os.environ.get("ASTRONOMER_AIRFLOW_IMAGE", "apache/airflow:3.3.2")

with DAG("same_image", schedule=None):
    KubernetesPodOperator(
        task_id="same_image_as_deployment",
        namespace=conf.get("kubernetes_executor", "namespace"),
        image=IMAGE,
        # The Secrets that Airflow's own pods name. Those that do not exist do no harm, and a public image needs none.
        image_pull_secrets=[
            k8s.V1LocalObjectReference(name="image-pull-secret"),
            k8s.V1LocalObjectReference(name="per-dp-registry-pull-secret"),
        ],
        cmds=["python", "-c"],
        arguments=["import airflow; print(airflow.__version__)"],
        in_cluster=True,
    )
