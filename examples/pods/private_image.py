"""An image of a private registry. The login lies in a Secret of the pod's namespace:

    kubectl create secret docker-registry team-registry-creds --docker-server=registry.example.com \
        --docker-username=USER --docker-password=PASSWORD

With podbay.yaml `podbay registry add` tries the login and keeps it, and no task has to name it.
"""

from __future__ import annotations

from airflow.configuration import conf
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG
from kubernetes.client import models as k8s

with DAG("private_image", schedule=None):
    KubernetesPodOperator(
        task_id="private_image",
        namespace=conf.get("kubernetes_executor", "namespace"),
        image="registry.example.com/team/tool:1.4.2",
        image_pull_secrets=[k8s.V1LocalObjectReference(name="team-registry-creds")],
        cmds=["/app/run"],
        in_cluster=True,
    )
