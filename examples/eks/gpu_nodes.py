"""A node group that comes for a run and goes with it, by the Amazon provider's operators and sensor: five tasks.

    create_gpu_nodegroup -> check_nodegroup_status -> run_on_eks -> delete_gpu_nodegroup -> check_nodegroup_termination

`gpu_nodes_group.py` does the same with one task group.
"""

from __future__ import annotations

import pendulum
from airflow.providers.amazon.aws.hooks.eks import NodegroupStates
from airflow.providers.amazon.aws.operators.eks import EksCreateNodegroupOperator, EksDeleteNodegroupOperator
from airflow.providers.amazon.aws.sensors.eks import EksNodegroupStateSensor
from airflow.sdk import DAG

from podbay import KubernetesPodOperator

CLUSTER = "gpu-cluster"
NODEGROUP = "gpu-nodes"
AWS = {"aws_conn_id": "aws_default", "region_name": "us-east-1"}

with DAG(
    "gpu_nodes",
    schedule="@daily",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,  # two runs would want the same node group
) as dag:
    create = EksCreateNodegroupOperator(
        task_id="create_gpu_nodegroup",
        cluster_name=CLUSTER,
        nodegroup_name=NODEGROUP,
        nodegroup_subnets=["subnet-0aaa", "subnet-0bbb"],
        nodegroup_role_arn="arn:aws:iam::111122223333:role/eks-gpu-node-role",
        create_nodegroup_kwargs={
            "scalingConfig": {"minSize": 1, "maxSize": 1, "desiredSize": 1},
            "diskSize": 20,
            "instanceTypes": ["g4dn.xlarge"],
            "amiType": "AL2023_x86_64_NVIDIA",
            "updateConfig": {"maxUnavailable": 1},
            "labels": {"pool": "gpu"},
        },
        **AWS,
    )
    wait_up = EksNodegroupStateSensor(
        task_id="check_nodegroup_status",
        cluster_name=CLUSTER,
        nodegroup_name=NODEGROUP,
        target_state=NodegroupStates.ACTIVE,
        mode="reschedule",
        poke_interval=30,
        exponential_backoff=True,
        timeout=1800,
        **AWS,
    )
    run = KubernetesPodOperator(
        task_id="run_on_eks",
        kubernetes_conn_id="k8s",
        cluster_context=f"arn:aws:eks:us-east-1:111122223333:cluster/{CLUSTER}",
        namespace="airflow-kpo-default",
        name="example-pod",
        image="ubuntu:24.04",
        cmds=["bash", "-cx"],
        arguments=["echo hello"],
        node_selector={"pool": "gpu"},
        container_resources={"limits": {"nvidia.com/gpu": "1"}},
        startup_timeout_seconds=240,
    )
    delete = EksDeleteNodegroupOperator(
        task_id="delete_gpu_nodegroup", cluster_name=CLUSTER, nodegroup_name=NODEGROUP, **AWS
    )
    wait_gone = EksNodegroupStateSensor(
        task_id="check_nodegroup_termination",
        cluster_name=CLUSTER,
        nodegroup_name=NODEGROUP,
        target_state=NodegroupStates.NONEXISTENT,
        mode="reschedule",
        poke_interval=30,
        timeout=1800,
        **AWS,
    )
    create >> wait_up >> run >> delete >> wait_gone
    # They run also when the pod fails, and say nothing about how the run ends: a failed pod fails it.
    create.as_setup()
    delete.as_teardown(setups=create)
    wait_gone.as_teardown(setups=create)
