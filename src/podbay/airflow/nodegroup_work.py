"""What the setup and the teardown of a node group do, in a triggerer, on a worker or in the DAG processor."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, TypeAlias, TypeVar

from podbay.aio.clock import Clock, SystemClock
from podbay.airflow.calls import AirflowCalls, TaskKey, TriggererCalls, key_of
from podbay.airflow.carried import Carried
from podbay.airflow.connection import cloud_place
from podbay.airflow.ending import RETURN_VALUE, TaskEnd
from podbay.airflow.settings import DEFAULT_DEPLOYMENT
from podbay.aws.nodegroup import NodegroupOwner, NodegroupPlan
from podbay.aws.nodegroup_work import Nodegroup
from podbay.aws.place import AwsLogin, EksPlace
from podbay.errors import InvalidInputError, NodegroupError, PodbayError

__all__ = [
    "AIRFLOW_SECONDS",
    "Act",
    "NodegroupWork",
    "find_place",
    "nodegroup_of",
    "patiently",
    "work_of_trigger",
]

Act: TypeAlias = Literal["make", "unmake"]
T = TypeVar("T")
AIRFLOW_SECONDS: Final = 600.0
"""As long as Airflow is asked again what a node group must know, or told what it is called."""
AIRFLOW_POLL_SECONDS: Final = 15.0
_deleting: Final[set[asyncio.Task[None]]] = set()
"""Deletions that outlive the tasks that a user ended: an event loop alone does not keep them."""


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
    plan: NodegroupPlan,
    owner: NodegroupOwner,
    calls: AirflowCalls,
    say: Callable[[str], None],
    clock: Clock,
) -> Nodegroup:
    """Ready to be made or deleted. Raises InvalidInputError."""
    place = await find_place(plan, calls)

    async def login() -> AwsLogin:
        return await calls.aws_login(place.aws_conn_id)

    return Nodegroup(plan, owner, place, login if place.aws_conn_id else None, say, clock)


async def patiently(
    ask: Callable[[], Awaitable[T]], what: str, seconds: float, say: Callable[[str], None], clock: Clock
) -> T:
    """Ask Airflow until it answers. Raises NodegroupError when the time is up, and what is Podbay's own at once."""
    began = clock.monotonic()
    while True:
        try:
            return await ask()
        except PodbayError:
            raise
        except Exception as error:
            said = f"Airflow did not {what}: {error or type(error).__name__}"
            if clock.monotonic() - began + AIRFLOW_POLL_SECONDS >= seconds:
                raise NodegroupError(said) from error
            say(f"{said}; asked again")
        await clock.sleep(AIRFLOW_POLL_SECONDS)


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
        clock: Clock | None = None,
    ) -> None:
        said: Mapping[str, Any] = carried.function or {}
        self.carried = carried
        self.key = key
        self._plan = NodegroupPlan.from_json(said.get("plan") or {})
        self._act: Act = said.get("act", "make")
        self._owner = NodegroupOwner(
            deployment=self._plan.deployment or deployment,
            dag_id=key.dag_id,
            run_id=key.run_id,
            group_id=self._plan.group_id,
        )
        self._calls = calls
        self._log = log
        self._clock = clock or SystemClock()
        self._group: Nodegroup | None = None

    async def run(self) -> TaskEnd:
        """To its end. What goes wrong is the task's end, so that its callbacks are told."""
        self._log.info(self.carried.reason)
        try:
            group = await self._found()
            if self._act == "unmake":
                await group.unmake()
                return TaskEnd(state="success", message=f"{group} is gone")
            if self._owner.deployment == DEFAULT_DEPLOYMENT:
                self._log.warning(
                    f"This Airflow has no name. Another one without a name would take the node group of an equal run in "
                    f"{group.place} for its own and delete it: set [podbay] deployment, or [api] base_url, in each"
                )
            name = await group.make()
            await self._hand_over(group, name)
        except (PodbayError, TimeoutError) as error:
            message = str(error) or type(error).__name__
            self._log.error(message)
            return TaskEnd(state="failed", message=message)
        return TaskEnd(state="success", message=f"{group} is ACTIVE", xcoms={RETURN_VALUE: name})

    async def _hand_over(self, group: Nodegroup, name: str) -> None:
        """The pods need the name. A setup that cannot tell it has failed, and no teardown follows. Raises NodegroupError."""
        try:
            await patiently(
                lambda: self._calls.push(self.key, RETURN_VALUE, name),
                "take the node group's name",
                AIRFLOW_SECONDS,
                self._log.info,
                self._clock,
            )
        except Exception as error:
            done = await group.clear_up(self._plan.delete_seconds)
            raise NodegroupError(f"{group} is of no use: {error}. {done}".rstrip()) from error

    async def _found(self) -> Nodegroup:
        if self._group is None:
            self._group = await patiently(
                lambda: nodegroup_of(self._plan, self._owner, self._calls, self._log.info, self._clock),
                "tell the cluster's connection",
                AIRFLOW_SECONDS,
                self._log.info,
                self._clock,
            )
        return self._group

    async def killed(self) -> None:
        """As TriggerWork; but a node group that nobody needs costs more than one that is made again."""
        if await self._is_in("deferred"):
            self._log.info("The node group is left to the trigger that has the task now.")
            return
        deleting = asyncio.create_task(self._delete_killed())
        _deleting.add(deleting)
        deleting.add_done_callback(_deleting.discard)
        try:
            await asyncio.shield(deleting)
        except asyncio.CancelledError:
            # Airflow gives half a minute ([triggerer] on_kill_timeout); AWS may need longer while it is CREATING.
            self._log.warning(
                "AWS has not taken the node group's deletion yet. This triggerer goes on asking, and tells it in its own log."
            )
            raise

    async def _delete_killed(self) -> None:
        try:
            await self.delete("the task was ended by a user", unless=self._is_taken)
        except asyncio.CancelledError:
            self._log.warning(
                "This triggerer stops, and the node group may still stand: podbay aws nodegroups --remove"
            )
            raise
        except Exception as error:  # noqa: BLE001 - nobody awaits it
            said = str(error) or type(error).__name__
            self._log.warning(
                f"The node group could not be deleted: {said}. Remove it: podbay aws nodegroups --remove"
            )

    async def _is_taken(self) -> bool:
        """A new try has the node group by now, or a teardown follows."""
        states = ("deferred", "running") if self._act == "unmake" else ("deferred", "running", "success")
        taken = await self._is_in(*states)
        if taken:
            self._log.info("The node group is left to the try that has it now, or to the teardown.")
        return taken

    async def _is_in(self, *states: str) -> bool:
        """What became of the task. "deferred": another triggerer has it, or a new try of it. False when Airflow is silent."""
        calls = self._calls
        if not isinstance(calls, TriggererCalls):
            return False
        try:
            return await calls.state_of(self.key) in states
        except Exception as error:  # noqa: BLE001 - a node group that nobody needs costs more than one that is made again
            self._log.warning(f"Airflow did not say what became of the task: {error or type(error).__name__}")
            return False

    async def delete(self, why: str, unless: Callable[[], Awaitable[bool]] | None = None) -> None:
        """Ask until AWS takes it; a setup that has not succeeded has no teardown. Raises PodbayError."""
        group = await self._found()
        if await group.delete_soon(self._plan.delete_seconds, unless):
            self._log.info(f"{group} is being deleted: {why}.")


def work_of_trigger(carried: Carried, ti: Any, log: logging.Logger) -> NodegroupWork:
    """In a triggerer. Raises InvalidInputError for arguments that are none of ours."""
    from podbay.airflow.settings import read_settings

    return NodegroupWork(
        carried, key_of(ti), TriggererCalls(), deployment=read_settings().deployment, log=log
    )
