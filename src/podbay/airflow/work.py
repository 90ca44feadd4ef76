"""What a trigger does, apart from being a trigger: renders, waits for room, runs the pod, and deletes it when told to.

Everything that one triggerer process shares between its tasks is here: connections, the limiter, the budget for log
records. Each triggerer process has one event loop, so none of it needs a lock.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from podbay.airflow.building import Job, with_function
from podbay.airflow.calls import TaskKey, TriggererCalls, key_of
from podbay.airflow.carried import Carried
from podbay.airflow.driving import TaskRun, checkpoint_key, checkpoint_of, incarnation_of, read_cluster
from podbay.airflow.ending import TaskEnd
from podbay.airflow.enforcing import current_deployment
from podbay.airflow.keeping import former_of, former_of_kept, wants_memory
from podbay.airflow.limits import Limiter
from podbay.airflow.logrelay import log_relay
from podbay.airflow.mutation import pod_mutation
from podbay.airflow.ownership import delete_own_pods
from podbay.airflow.portable import plain, revive
from podbay.airflow.rendering import render_parameters
from podbay.airflow.settings import read_settings
from podbay.airflow.tasklog import RecordBudget, TaskLog
from podbay.airflow.triggers import GRACE_SECONDS
from podbay.errors import InvalidInputError, PodbayError
from podbay.kube.lease import LeasedCluster, lease
from podbay.lifecycle.checkpoint import Checkpoint

if TYPE_CHECKING:
    from podbay.deployment.raising import FormerTry

__all__ = ["TriggerWork"]

YOUNG_SECONDS: Final = 3.0
"""A task handed over so lately had no earlier life: it would have had to run its pod to the end and lose its triggerer."""
LATE_SECONDS: Final = GRACE_SECONDS / 2
"""To learn what there is of a task whose time is up, before the scheduler takes it away."""
PAUSES: Final = (5.0, 15.0, 30.0, 60.0, 120.0)
"""Seconds between questions what became of a task; a busy triggerer's supervisor does not answer for a minute."""
ON_WORKERS: Final = ("scheduled", "queued", "running")
UNKNOWN_UID: Final = "unknown"


class _Process:
    """Shared by the tasks of one event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        # Airflow tells a trigger no number of its triggerer, which has one such process for its whole life.
        self.name = uuid.uuid4().hex[:12]
        self.calls = TriggererCalls()
        self.limiter = Limiter()
        self.budget = RecordBudget()
        self.asking: set[asyncio.Task[None]] = set()
        self.settings = read_settings()


_process: _Process | None = None


def _shared() -> _Process:
    global _process  # noqa: PLW0603 - one event loop a process, and no object of ours that lives as long
    if _process is None or _process.loop is not asyncio.get_running_loop():
        _process = _Process()
    return _process


class TriggerWork:
    """One task instance in this process."""

    def __init__(
        self,
        carried: Carried,
        ti: Any,
        *,
        owner: str,
        log: logging.Logger,
        timeout_after: datetime | None,
    ) -> None:
        self.carried = carried
        self.key: TaskKey = key_of(ti)
        self.run_: TaskRun | None = None
        self._ti = ti
        self._owner = owner
        self._timeout_after = timeout_after
        self._shared = _shared()
        prefix = carried.parameters.get("container_name_log_prefix_enabled", True)
        self.log = TaskLog(log.log, prefix=bool(prefix), budget=self._shared.budget, relay=log_relay())

    @property
    def keeps_killed(self) -> bool:
        return self._given().get("on_kill_action") == "keep_pod"

    def _given(self) -> Mapping[str, Any]:
        """Rendered, as soon as they are."""
        return self.run_.job.given if self.run_ is not None else self.carried.parameters

    async def run(self) -> TaskEnd | None:
        """To the end of the task; None if a worker must begin it anew, because its DAG has changed since it began.

        Raises PodbayError and TimeoutError for what happens before there is a pod.
        """
        self.log.info(self.carried.reason)
        left = self._remaining(None)
        # Also when the task's time is up: an earlier life may have left a pod, which the engine then ends.
        bound = asyncio.timeout(None if left is None else left + LATE_SECONDS)
        try:
            async with bound:
                given = await self._given_now()
                if given is None:
                    return None
                job = await self._job(given)
                job = replace(job, former=await self._former(job), kept_by_worker=self.carried.rendered)
                checkpoint, writers = await self._earlier_life(job)
                job = replace(job, told={"writers": sorted(writers | {self._shared.name})})
        except TimeoutError:
            if not bound.expired():
                raise
            raise InvalidInputError(
                f"execution_timeout: the {self.carried.timeout:g} s of the task were over before its pod was made; "
                "it waited for answers of Airflow"
            ) from None
        self.run_ = run = TaskRun(job, self._shared.calls, self.log, self._shared.limiter)
        return await run.run(checkpoint=checkpoint, remaining=self._remaining(checkpoint))

    async def _given_now(self) -> dict[str, Any] | None:
        """Rendered parameters; None if those of a task that has a pod cannot be rendered any more. Raises InvalidInputError."""
        try:
            rendered = await self._rendered()
            return rendered and with_function(rendered, self.carried, self._shared.settings)
        except InvalidInputError as error:
            # The texts are those of the DAG as it was, what they refer to is of the DAG as it is.
            if self._is_young() or not await self._has_pod():
                raise
            self.log.warning(str(error))
            return None

    async def _job(self, given: Mapping[str, Any]) -> Job:
        return Job(
            key=self.key,
            carried=self.carried,
            given=given,
            owner=self._owner,
            settings=self._shared.settings,
            airflow_version=_airflow_version(),
            # In a triggerer a try ends by itself, which ends its pod, or by a user.
            cleared=self.key.try_number - 1,
            mutate=await asyncio.to_thread(pod_mutation, self.carried.queue),
            deployment=await asyncio.to_thread(current_deployment),
        )

    async def _has_pod(self) -> bool:
        """An earlier life of this try had one."""
        return (
            incarnation_of(await self._job(self.carried.parameters), await self._pulled("pod_name"))
            is not None
        )

    async def _pulled(self, name: str) -> Any:
        index = self.key.map_index if self.key.map_index >= 0 else None
        return await self._shared.calls.pull(self.key, self.key.task_id, name, index)

    async def _former(self, job: Job) -> FormerTry | None:
        """What the try before has left about its memory: with a worker that began this one, or as an XCom."""
        if self.key.try_number < 2 or not wants_memory(job.deployment):
            return None
        carried = former_of(self.carried.former)
        return carried or former_of_kept(await self._pulled(checkpoint_key(self.key.try_number - 1)))

    async def _earlier_life(self, job: Job) -> tuple[Checkpoint | None, set[str]]:
        """What earlier lives of this try have left, and in which triggerers they were; each question costs the supervisor
        20 ms, and an error in its log."""
        if self._is_young():
            return None, set()
        name = await self._pulled("pod_name")
        incarnation = incarnation_of(job, name)
        if incarnation is None:
            return None, set()
        number = self.key.try_number
        kept = await self._pulled(checkpoint_key(number))
        saved = checkpoint_of(kept, number)
        if saved is None:
            # A pod that is not there any more must not be made a second time, even if nothing else is known of it.
            return Checkpoint(incarnation=incarnation, pod=name, uid=UNKNOWN_UID), set()
        writers = set(kept.get("writers") or ())
        if self._shared.name in writers:
            self.log.info(
                "This triggerer has had the task before, and Airflow begins its log anew: so do the lines."
            )
            saved = replace(saved, positions={})
        return saved, writers

    def _is_young(self) -> bool:
        age = self._age()
        return age is not None and age < YOUNG_SECONDS

    def _age(self) -> float | None:
        """Seconds since the task was handed over."""
        if self.carried.since is not None:
            return time.time() - self.carried.since
        if self.carried.allowance is None or self._timeout_after is None:
            return None
        return self.carried.allowance - (self._timeout_after - datetime.now(UTC)).total_seconds()

    async def _rendered(self) -> dict[str, Any] | None:
        carried, ti = self.carried, self._ti
        self._ti = None
        if carried.rendered:
            return {name: plain(revive(value)) for name, value in carried.parameters.items()}
        if not hasattr(ti, "get_template_context"):
            # Airflow gives it to a trigger only if the DAG, as it is now, starts the task in the triggerer.
            return None
        try:
            return await render_parameters(
                carried.parameters,
                expansion=carried.expansion,
                native=carried.native,
                ti=ti,
                key=self.key,
                calls=self._shared.calls,
                templated=carried.templated,
            )
        finally:
            # Frees the DAG, which the triggerer has read for this one task (0.66 -> 0.35 MB each).
            ti.get_template_context().clear()
            ti.task = None

    def _remaining(self, checkpoint: Checkpoint | None) -> float | None:
        """Seconds of the task's time that are left."""
        carried = self.carried
        if carried.timeout is None:
            return None
        if carried.deadline is not None:
            return max(0.0, carried.deadline - time.time())
        if carried.counted and self._timeout_after is not None:
            left = (self._timeout_after - datetime.now(UTC)).total_seconds() - GRACE_SECONDS
            return max(0.0, left)
        used = carried.used + (checkpoint.elapsed if checkpoint is not None else 0.0)
        return max(0.0, carried.timeout - used)

    async def killed(self) -> None:
        """Somebody has ended the task, or another trigger has it: which of the two only Airflow knows (airflow.md T6)."""
        if await self._killed():
            return
        self.log.warning("Airflow did not say what became of the task: the pod stays until it does.")
        asking = asyncio.create_task(self._ask_again())
        self._shared.asking.add(asking)
        asking.add_done_callback(self._shared.asking.discard)

    async def _ask_again(self) -> None:
        for pause in PAUSES:
            await asyncio.sleep(pause)
            if await self._killed():
                return
        self.log.warning(
            "Airflow does not say what became of the task: its pod is left to the next try or the healer."
        )

    async def _killed(self) -> bool:
        """Whether it was known what to do."""
        try:
            state = await self._shared.calls.state_of(self.key)
        except Exception as error:  # noqa: BLE001 - a busy supervisor, one that ends, an Airflow that asks otherwise
            self.log.info(f"{type(error).__name__}: {error}")
            return False
        if state == "deferred":
            # Another triggerer's; or that of a new try, which ends this one's pod itself.
            self.log.info("The pod is left to the trigger that has the task now.")
            return True
        try:
            # Unless a worker has the task, nobody has it: then it does not matter which life's the pod is.
            await self.delete("the task was ended by a user", others=state not in ON_WORKERS)
        except PodbayError as error:
            self.log.warning(f"The pod could not be deleted: {error}")
        return True

    async def delete(self, why: str, *, others: bool = False) -> None:
        """Delete this life's pods, with `others` also running ones of other lives of the task. Raises PodbayError."""
        run = self.run_
        if run is None:
            if others:
                await self._delete_of_earlier_life(why)
            return
        if run.choice is None or not run.namespace:
            return
        async with lease(run.choice.config) as cluster:
            names = sorted(run.pod_names)
            for attempt in range(3):
                deleted = await self._deleted(cluster, run.namespace, names, others)
                # A create that was under way when the task was ended may arrive after the first look.
                if deleted or attempt == 2 or not run.may_be_creating:
                    break
                await asyncio.sleep(1)
        for name in deleted:
            self.log.info(f"Pod {name} was deleted: {why}.")

    async def _delete_of_earlier_life(self, why: str) -> None:
        """This one has only begun, and knows of the pod what stands in Airflow; nobody else is left to end it."""
        given = {name: plain(revive(value)) for name, value in self.carried.parameters.items()}
        name, namespace = await self._pulled("pod_name"), await self._pulled("pod_namespace")
        if incarnation_of(await self._job(given), name) is None or not isinstance(namespace, str):
            return
        choice = await read_cluster(given, self._shared.calls)
        async with lease(choice.config) as cluster:
            for each in await self._deleted(cluster, namespace, [name], True):
                self.log.info(f"Pod {each} was deleted: {why}.")

    async def _deleted(
        self, cluster: LeasedCluster, namespace: str, names: Sequence[str], others: bool
    ) -> list[str]:
        grace = self._given().get("termination_grace_period")
        return await delete_own_pods(cluster, namespace, names, self._owner, grace, others=others)


def _airflow_version() -> str:
    from airflow.version import version

    return str(version)
