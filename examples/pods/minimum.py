"""The least that a task in a pod says. Upstream's operator or Podbay's: only the import line differs."""

from __future__ import annotations

from airflow.configuration import conf
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator  # from podbay import ...
from airflow.sdk import DAG

# Airflow itself has no [kubernetes] namespace: `podbay run`, an Airflow that podbay.yaml configures, and Astro have it.
NAMESPACE = conf.get("kubernetes", "NAMESPACE", fallback=None) or conf.get("kubernetes_executor", "namespace")

with DAG("minimum", schedule=None):
    KubernetesPodOperator(
        task_id="say_hello",
        name="say-hello",  # of the pod, which gets a suffix; the task's id if left out
        namespace=NAMESPACE,
        image="busybox:1.36",  # of Docker Hub; another registry's name comes first
        cmds=["sh", "-c"],
        arguments=["echo hello from $(hostname)"],
        labels={"team": "data-eng"},
        in_cluster=True,  # the cluster that Airflow is in
        get_logs=True,
    )
