"""The two tasks of `EksNodegroup`: one makes the node group, one deletes it. Both wait in the triggerer.

Setup and teardown of Airflow do not cover everything, so each gap is closed where it opens:

    the setup fails, or is ended by a user    no teardown runs: the setup itself asks for the deletion until AWS takes it
    the run's time is up (dagrun_timeout)     Airflow skips teardowns, too: a callback of the DAG asks for the deletion,
                                              as long as the DAG processor lets it
    Airflow itself is gone                    `podbay aws nodegroups --remove`
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from airflow.sdk import BaseOperator
from airflow.triggers.base import StartTriggerArgs

from podbay.airflow.describing import Description
from podbay.airflow.placement import Placement
from podbay.airflow.task import NEXT_METHOD, PodTask, is_in_process, settings
from podbay.aws.nodegroup import NodegroupOwner, NodegroupPlan

__all__ = ["CreateNodegroup", "DeleteNodegroup", "RunTimedOut", "seconds_of_callback"]

RETRIES: Final = 3
"""Of the deletion, whatever the DAG's own tasks get."""
RETRY_DELAY: Final = timedelta(minutes=1)
MARGIN_SECONDS: Final = 10.0
"""Of what a callback has; AWS takes some to answer."""
_log = logging.getLogger(__name__)


class NodegroupTask(PodTask, BaseOperator):
    """What both have in common."""

    ui_color = "#fde3c8"
    podbay_makes_pod = False
    act = "make"

    def __init__(self, *, plan: Mapping[str, Any], **kwargs: Any) -> None:
        # The limit of the DAG's pods is none for a node group; it has its own.
        super().__init__(execution_timeout=None, **kwargs)
        self.plan = dict(plan)

    def podbay_parameters(self) -> dict[str, Any]:
        return {}

    def podbay_function(self) -> dict[str, Any]:
        return {"plan": self.plan, "act": self.act}

    def podbay_description(self) -> Description:
        # "deferrable": in a pool it starts on a worker and does not wait there.
        return Description(self, {"deferrable": True}, settings(), operator_class=type(self))

    def podbay_start(self) -> StartTriggerArgs | None:
        from podbay.airflow.nodegroup_trigger import NODEGROUP_TRIGGER

        if not self.podbay_starts_in_triggerer():
            return None
        description = self.podbay_description()
        carried = description.carried(description.placement(), function=self.podbay_function())
        # No time-out of Airflow's: it would fail the task on a worker, and nobody would ask for the deletion.
        return StartTriggerArgs(
            trigger_cls=NODEGROUP_TRIGGER,
            trigger_kwargs={"spec": replace(carried, parameters={}).to_text()},
            next_method=NEXT_METHOD,
            timeout=None,
        )

    def execute(self, context: Any) -> Any:
        """Reached where the scheduler did not start the trigger."""
        from podbay.airflow.nodegroup_trigger import NodegroupTrigger

        description = self.podbay_description()
        placement = description.placement()
        if placement.where == "triggerer":
            placement = replace(
                placement, where="worker start", reason="the scheduler did not start it elsewhere"
            )
        if is_in_process():
            return self._here(context, description)
        carried = description.rendered(placement, deadline=None, function=self.podbay_function())
        carried = replace(carried, parameters={}, since=time.time())
        self.defer(trigger=NodegroupTrigger(spec=carried.to_text()), method_name=NEXT_METHOD)
        return None

    def _here(self, context: Any, description: Description) -> Any:
        """In `dag.test()`, in one process."""
        from podbay.airflow.calls import WorkerCalls, key_of
        from podbay.airflow.nodegroup_work import NodegroupWork

        placement = Placement(where="worker", reason="it is run for a test, in one process")
        carried = description.rendered(placement, deadline=None, function=self.podbay_function())
        work = NodegroupWork(
            carried, key_of(context["ti"]), WorkerCalls(), deployment=settings().deployment, log=self.log
        )

        async def to_the_end() -> Any:
            try:
                return await work.run()
            except asyncio.CancelledError:
                # Ctrl-C. In a triggerer it would mean that another one goes on.
                await asyncio.shield(work.delete("the test was interrupted"))
                raise

        end = asyncio.run(to_the_end())
        return self._podbay_ended(context, end.state, end.message, list(end.xcoms))


class CreateNodegroup(NodegroupTask):
    """Makes the node group and waits until it is ACTIVE; its result is the name."""


class DeleteNodegroup(NodegroupTask):
    """Deletes the node group and waits until it is gone."""

    act = "unmake"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(retries=RETRIES, retry_delay=RETRY_DELAY, **kwargs)


class RunTimedOut:
    """A callback of the DAG: asks for the node group's deletion when the run's time was up."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self.plan = dict(plan)

    def __call__(self, context: Mapping[str, Any]) -> None:
        if context.get("reason") != "timed_out":
            # Otherwise the teardown runs.
            return
        run_id = context.get("run_id") or context["dag_run"].run_id
        plan = NodegroupPlan.from_json(self.plan)
        owner = NodegroupOwner(
            deployment=plan.deployment or settings().deployment,
            dag_id=context["dag"].dag_id,
            run_id=run_id,
            group_id=plan.group_id,
        )
        seconds = _seconds_left()
        _log.warning(
            "The time of run %s was up: its node group is to be deleted, which is tried for %.0f s. If no line says that "
            "it is being deleted or that there is none: podbay aws nodegroups --remove",
            run_id,
            seconds,
        )
        try:
            asyncio.run(_delete_soon(plan, owner, seconds))
        except Exception as error:  # noqa: BLE001 - other callbacks of the DAG come after this one
            _log.error(
                "The node group of run %s may still stand: %s. podbay aws nodegroups --remove",
                run_id,
                str(error) or type(error).__name__,
            )


def _seconds_left() -> float:
    """Until the DAG processor kills its child, which calls the DAG's callbacks; 0 is one try."""
    import psutil
    from airflow.configuration import conf

    limit = conf.getfloat("dag_processor", "dag_file_processor_timeout", fallback=50.0)
    return seconds_of_callback(limit, time.time() - psutil.Process().create_time())


def seconds_of_callback(limit: float, age: float) -> float:
    """What a process of that age has for a callback. One older than the limit is no DAG processor's child. Pure."""
    return limit if age > limit else max(0.0, limit - age - MARGIN_SECONDS)


async def _delete_soon(plan: NodegroupPlan, owner: NodegroupOwner, seconds: float) -> None:
    from podbay.aio.clock import SystemClock
    from podbay.airflow.calls import WorkerCalls
    from podbay.airflow.nodegroup_work import nodegroup_of, patiently

    clock = SystemClock()
    began = clock.monotonic()
    group = await patiently(
        lambda: nodegroup_of(plan, owner, WorkerCalls(), _log.info, clock),
        "tell the cluster's connection",
        seconds,
        _log.warning,
        clock,
    )
    if await group.delete_soon(max(0.0, seconds - (clock.monotonic() - began))):
        _log.info("%s is being deleted: the time of run %s was up.", group, owner.run_id)
    else:
        _log.info("There is no %s any more, or it is being deleted already.", group)
