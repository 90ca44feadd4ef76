"""A task with a directory of its own, on the node's disk and gone with the pod."""

from __future__ import annotations

from airflow.configuration import conf
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG
from kubernetes.client import models as k8s

# What is written here counts for the pod's ephemeral-storage: the limit below must leave room for it.
SIZE = {"cpu": "250m", "memory": "512Mi", "ephemeral-storage": "3Gi"}

with DAG("scratch", schedule=None):
    KubernetesPodOperator(
        task_id="use_scratch",
        namespace=conf.get("kubernetes_executor", "namespace"),
        image="busybox:1.36",
        cmds=["sh", "-c"],
        arguments=["dd if=/dev/zero of=/cache/blob bs=1M count=64 && ls -l /cache"],
        # The client's names are in snake case: emptyDir= is a TypeError.
        volumes=[k8s.V1Volume(name="cache", empty_dir=k8s.V1EmptyDirVolumeSource(size_limit="2Gi"))],
        volume_mounts=[k8s.V1VolumeMount(name="cache", mount_path="/cache")],
        container_resources=k8s.V1ResourceRequirements(requests=SIZE, limits=SIZE),
        in_cluster=True,
    )
