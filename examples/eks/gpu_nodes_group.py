"""A node group that comes for a run and goes with it, however the run ends: one task group."""

from __future__ import annotations

import pendulum
from airflow.sdk import DAG

from podbay import KubernetesPodOperator
from podbay.aws import EksNodegroup

with DAG(
    "gpu_nodes_group",
    schedule="@daily",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
) as dag:
    with EksNodegroup(
        "gpu",
        kubernetes_conn_id="k8s",
        cluster_name="gpu-cluster",
        region="us-east-1",
        aws_conn_id="aws_default",
        node_role="arn:aws:iam::111122223333:role/eks-gpu-node-role",
        instance_types=["g4dn.xlarge"],
        ami_type="AL2023_x86_64_NVIDIA",
        disk_size=20,
        gpus=1,
    ):
        KubernetesPodOperator(
            task_id="run_on_eks",
            namespace="airflow-kpo-default",
            image="ubuntu:24.04",
            cmds=["bash", "-cx"],
            arguments=["echo hello"],
            startup_timeout_seconds=240,
        )
