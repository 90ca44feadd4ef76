"""`EksNodegroup`: a task group whose pods run on nodes of their own, which come before its tasks and go after them.

    with EksNodegroup("gpu", kubernetes_conn_id="gpu_cluster", node_role="arn:…", instance_types=["g5.xlarge"], gpus=1):
        KubernetesPodOperator(task_id="train", image="train:1")

What a DAG file says is checked where it is read; boto3 is loaded by whoever calls AWS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from airflow.sdk import TaskGroup
from airflow.sdk.definitions.taskgroup import MappedTaskGroup

from podbay.airflow.confining import Nodes, confine, is_pod_task
from podbay.airflow.nodegroup_tasks import CreateNodegroup, DeleteNodegroup, NodegroupTask, RunTimedOut
from podbay.airflow.settings import this_airflow
from podbay.aws.nodegroup import NodegroupPlan, taint_key
from podbay.errors import InvalidInputError

__all__ = ["EksNodegroup"]


class EksNodegroup(TaskGroup):
    """Make a node group of EKS, run the group's pods on it and on no other nodes, delete it whatever happens.

    One for each run of the DAG. Raises InvalidInputError that names every field which cannot be right.
    """

    def __init__(
        self,
        group_id: str,
        *,
        kubernetes_conn_id: str,
        node_role: str,
        cluster_name: str | None = None,
        region: str | None = None,
        aws_conn_id: str | None = None,
        subnets: Sequence[str] | None = None,
        instance_types: Sequence[str] | None = None,
        ami_type: str | None = None,
        capacity_type: Literal["ON_DEMAND", "SPOT", "CAPACITY_BLOCK"] = "ON_DEMAND",
        disk_size: int | None = None,
        nodes: int = 1,
        gpus: int = 0,
        labels: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        create_nodegroup_kwargs: Mapping[str, Any] | None = None,
        create_timeout: timedelta = timedelta(minutes=30),
        delete_timeout: timedelta = timedelta(minutes=30),
        poll_seconds: float = 15.0,
        **kwargs: Any,
    ) -> None:
        plan = NodegroupPlan(
            kubernetes_conn_id=kubernetes_conn_id,
            node_role=node_role,
            group_id=group_id,
            # One reader tells it to setup, teardown and callback, whatever their own machines say.
            deployment=this_airflow(),
            cluster_name=cluster_name or "",
            region=region or "",
            aws_conn_id=aws_conn_id or "",
            subnets=() if subnets is None else subnets,
            instance_types=() if instance_types is None else instance_types,
            ami_type=ami_type or "",
            capacity_type=capacity_type,
            disk_size=disk_size,
            nodes=nodes,
            gpus=gpus,
            labels=labels or {},
            tags=tags or {},
            more=create_nodegroup_kwargs or {},
            create_seconds=create_timeout.total_seconds(),
            delete_seconds=delete_timeout.total_seconds(),
            poll_seconds=poll_seconds,
        )
        plan.check()
        super().__init__(group_id=group_id, **kwargs)
        self._plan = {**plan.to_json(), "group_id": self.group_id}
        self._nodes = Nodes(connection=kubernetes_conn_id, taint=taint_key(gpus), gpus=gpus)
        self._setup: CreateNodegroup | None = None

    def __enter__(self) -> EksNodegroup:
        self._refuse_mapped()
        super().__enter__()
        self._setup = CreateNodegroup(task_id="create_nodegroup", plan=self._plan)
        return self

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        try:
            if kind is None:
                self._close()
        finally:
            super().__exit__(kind, value, traceback)

    def _refuse_mapped(self) -> None:
        above = self.parent_group
        while above is not None:
            if isinstance(above, MappedTaskGroup):
                raise InvalidInputError(
                    f"EksNodegroup({self.group_id!r}): cannot be in a mapped task group; map tasks or a group inside it"
                )
            above = above.parent_group

    def _close(self) -> None:
        setup = self._setup
        assert setup is not None
        work = [task for task in self if not isinstance(task, NodegroupTask)]
        if not any(is_pod_task(task) for task in work):
            raise InvalidInputError(f"EksNodegroup({self.group_id!r}): has no task that runs in a pod")
        inside = {task.task_id for task in work}
        for task in work:
            if is_pod_task(task):
                confine(task, self._nodes, setup.task_id)
        first = [task for task in work if task.upstream_task_ids.isdisjoint(inside)]
        last = [task for task in work if task.downstream_task_ids.isdisjoint(inside)]
        teardown = DeleteNodegroup(task_id="delete_nodegroup", plan=self._plan)
        setup >> first
        last >> teardown
        teardown.as_teardown(setups=setup)
        self._hear_of_time_outs()

    def _hear_of_time_outs(self) -> None:
        dag = self.dag
        told = dag.on_failure_callback
        others = list(told) if isinstance(told, list | tuple) else [told] if told else []
        dag.on_failure_callback = [*others, RunTimedOut(self._plan)]
        # Airflow has looked at the callbacks when the DAG was made.
        dag.has_on_failure_callback = True
