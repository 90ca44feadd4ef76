"""What the setup and the teardown of a node group do, in a triggerer, on a worker or in the DAG processor."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from podbay.airflow.calls import AirflowCalls, TaskKey, TriggererCalls, key_of
from podbay.airflow.carried import Carried
from podbay.airflow.connection import cloud_place
from podbay.airflow.ending import RETURN_VALUE, TaskEnd
from podbay.aws.nodegroup import NodegroupOwner, NodegroupPlan
from podbay.aws.nodegroup_work import Nodegroup
from podbay.aws.place import AwsLogin, EksPlace
from podbay.errors import InvalidInputError, PodbayError

__all__ = ["Act", "NodegroupWork", "find_place", "nodegroup_of", "work_of_trigger"]

Act: TypeAlias = Literal["make", "unmake"]


async def find_place(plan: NodegroupPlan, calls: AirflowCalls) -> EksPlace:
    """The cluster: as the DAG says, else as its connection does. Raises InvalidInputError."""
    if plan.cluster_name:
        return EksPlace(cluster_name=plan.cluster_name, region=plan.region, aws_conn_id=plan.aws_conn_id)
    extras = await calls.extras(plan.kubernetes_conn_id)
    place = cloud_place({}, extras, connection=plan.kubernetes_conn_id)
    if not isinstance(place, EksPlace):
        raise InvalidInputError(
            f"connection {plan.kubernetes_conn_id} does not say which cluster of EKS it means: make it with "
            f"podbay connection add eks, or give EksNodegroup({plan.group_id!r}) cluster_name and region"
        )
    return place


async def nodegroup_of(
    plan: NodegroupPlan, owner: NodegroupOwner, calls: AirflowCalls, say: Callable[[str], None]
) -> Nodegroup:
    """Ready to be made or deleted. Raises InvalidInputError."""
    place = await find_place(plan, calls)

    async def login() -> AwsLogin:
        return await calls.aws_login(place.aws_conn_id)

    return Nodegroup(plan, owner, place, login if place.aws_conn_id else None, say)


class NodegroupWork:
    """One try of a setup or a teardown."""

    keeps_killed = False

    def __init__(
        self,
        carried: Carried,
        key: TaskKey,
        calls: AirflowCalls,
        *,
        deployment: str,
        log: logging.Logger,
    ) -> None:
        said: Mapping[str, Any] = carried.function or {}
        self.carried = carried
        self.key = key
        self._plan = NodegroupPlan.from_json(said.get("plan") or {})
        self._act: Act = said.get("act", "make")
        self._owner = NodegroupOwner(
            deployment=deployment, dag_id=key.dag_id, run_id=key.run_id, group_id=self._plan.group_id
        )
        self._calls = calls
        self._log = log
        self._group: Nodegroup | None = None

    async def run(self) -> TaskEnd:
        """To its end. What goes wrong is the task's end, so that its callbacks are told."""
        self._log.info(self.carried.reason)
        try:
            group = await self._found()
            if self._act == "unmake":
                await group.unmake()
                return TaskEnd(state="success", message=f"{group} is gone")
            name = await group.make()
            await self._calls.push(self.key, RETURN_VALUE, name)
        except (PodbayError, TimeoutError) as error:
            message = str(error) or type(error).__name__
            self._log.error(message)
            return TaskEnd(state="failed", message=message)
        return TaskEnd(state="success", message=f"{group} is ACTIVE", xcoms={RETURN_VALUE: name})

    async def _found(self) -> Nodegroup:
        if self._group is None:
            self._group = await nodegroup_of(self._plan, self._owner, self._calls, self._log.info)
        return self._group

    async def killed(self) -> None:
        """As TriggerWork; but a node group that nobody needs costs more than one that is made again."""
        if await self._goes_on():
            self._log.info("The node group is left to the trigger that has the task now.")
            return
        try:
            await self.delete("the task was ended by a user")
        except PodbayError as error:
            self._log.warning(f"The node group could not be deleted: {error}")

    async def _goes_on(self) -> bool:
        """Another triggerer has the task, or a new try of it."""
        calls = self._calls
        if not isinstance(calls, TriggererCalls):
            return False
        try:
            return await calls.is_deferred(self.key)
        except Exception as error:  # noqa: BLE001 - a node group that nobody needs costs more than one that is made again
            self._log.warning(f"Airflow did not say what became of the task: {error or type(error).__name__}")
            return False

    async def delete(self, why: str) -> None:
        """Ask for the node group's deletion; a setup that has not succeeded has no teardown. Raises PodbayError."""
        group = await self._found()
        if await group.ask_to_delete():
            self._log.info(f"{group} is being deleted: {why}.")


def work_of_trigger(carried: Carried, ti: Any, log: logging.Logger) -> NodegroupWork:
    """In a triggerer. Raises InvalidInputError for arguments that are none of ours."""
    from podbay.airflow.settings import read_settings

    return NodegroupWork(
        carried, key_of(ti), TriggererCalls(), deployment=read_settings().deployment, log=log
    )
