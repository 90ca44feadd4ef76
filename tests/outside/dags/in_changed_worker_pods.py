"""Airflow's KubernetesExecutor with pods that a task changes.

In a file of its own: every worker reads the whole file of its task, and the Kubernetes client takes seconds to import.
"""

from __future__ import annotations

import datetime
import sys

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG, task
from kubernetes.client import models as k8s

LIST_PODS = """
from kubernetes import client, config
config.load_incluster_config()
found = client.CoreV1Api().list_namespaced_pod("workers", label_selector="task_id=pod_from_within")
print("sees", [pod.status.phase for pod in found.items])
"""


def changed(account: str | None = None, **container: object) -> dict[str, k8s.V1Pod]:
    """The executor's way to change one task's pod."""
    base = k8s.V1Container(name="base", **container)
    spec = k8s.V1PodSpec(containers=[base], service_account_name=account)
    return {"pod_override": k8s.V1Pod(spec=spec)}


with DAG(
    "changed_worker_pods",
    schedule=None,
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    default_args={"executor": "KubernetesExecutor", "retries": 0},
):

    @task(executor_config=changed(resources=k8s.V1ResourceRequirements(limits={"memory": "40Mi"})))
    def too_big() -> None:
        """Airflow alone needs more."""

    @task(executor_config=changed(image="127.0.0.1:1/absent:1"))
    def no_image() -> None:
        """Never runs."""

    too_big()
    no_image()

    # As on a cluster that Airflow itself runs on: worker and pod know the cluster by their service account only. The
    # worker is on the machine's network, its pod on one of its own.
    KubernetesPodOperator(
        task_id="pod_from_within",
        name="pod-from-within",
        namespace="workers",
        kubernetes_conn_id="in_cluster",
        image="localhost/python:1",
        cmds=[f"{sys.prefix}/bin/python", "-c", LIST_PODS],
        service_account_name="starter",
        volumes=[
            k8s.V1Volume(
                name="python", host_path=k8s.V1HostPathVolumeSource(path=sys.prefix, type="Directory")
            )
        ],
        volume_mounts=[k8s.V1VolumeMount(name="python", mount_path=sys.prefix, read_only=True)],
        startup_check_interval_seconds=1,
        executor_config=changed(account="starter"),
    )
