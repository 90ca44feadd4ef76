"""Node groups in runs that end in every way. What the pods do is their script (annotations of scripted nodes)."""

from __future__ import annotations

import datetime
from typing import Any

from airflow.sdk import DAG

from podbay import KubernetesPodOperator
from podbay.aws import EksNodegroup

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
GROUP: dict[str, Any] = {
    "kubernetes_conn_id": "eks_nodes",
    "cluster_name": "gpu-cluster",
    "region": "us-east-1",
    "aws_conn_id": "eks_aws",
    "node_role": "arn:aws:iam::111122223333:role/nodes",
    "poll_seconds": 0.5,
}


def pod(name: str, **script: str) -> KubernetesPodOperator:
    return KubernetesPodOperator(
        task_id=name,
        namespace="eks",
        image="train:1",
        retries=0,
        annotations={f"scripted.podbay.dev/{key.replace('_', '-')}": value for key, value in script.items()},
    )


with (
    DAG("eks_succeeds", schedule=None, start_date=START),
    EksNodegroup("gpu", gpus=1, ami_type="AL2023_x86_64_NVIDIA", **GROUP),
):
    first = pod("first", log="on the gpu")
    many = KubernetesPodOperator.partial(task_id="many", namespace="eks", image="train:1", retries=0).expand(
        labels=[{"part": "1"}, {"part": "2"}]
    )
    first >> many


def tell(context: Any) -> None:
    print("callback of", context["ti"].task_id)


# Callbacks run on workers: so the node group's tasks begin and end there, and wait in the triggerer all the same.
with (
    DAG("eks_pod_fails", schedule=None, start_date=START),
    EksNodegroup("cpu", default_args={"on_execute_callback": tell, "on_success_callback": tell}, **GROUP),
):
    pod("work", exit_code="3")

with (
    DAG("eks_times_out", schedule=None, start_date=START, dagrun_timeout=datetime.timedelta(seconds=45)),
    EksNodegroup("slow", **GROUP),
):
    pod("work", run_seconds="9999")

with DAG("eks_is_killed", schedule=None, start_date=START), EksNodegroup("killed", **GROUP):
    pod("work", run_seconds="9999")

with DAG("eks_setup_is_killed", schedule=None, start_date=START), EksNodegroup("never", **GROUP):
    pod("work")

# The first cluster has no node but those of node groups; the second is the one of all other tests.
with DAG("eks_overflows", schedule=None, start_date=START):
    KubernetesPodOperator(
        task_id="goes",
        namespace="scripted",
        image="train:1",
        retries=0,
        kubernetes_conn_id="eks_nodes",
        overflow_kubernetes_conn_id="kubernetes_default",
        overflow_after_seconds=1,
        node_selector={"kubernetes.io/hostname": "scripted"},
        tolerations=[{"key": "podbay.dev/scripted", "operator": "Exists"}],
        annotations={"scripted.podbay.dev/log": "over there"},
    )
