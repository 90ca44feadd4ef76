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
from podbay.airflow.limits import Limiter, weight_of
from podbay.airflow.logrelay import log_relay
from podbay.airflow.mutation import pod_mutation
from podbay.airflow.overflow import places_of
from podbay.airflow.ownership import delete_own_pods
from podbay.airflow.portable import plain, revive
from podbay.airflow.rendering import render_parameters
from podbay.airflow.settings import read_settings
from podbay.airflow.tasklog import RecordBudget, TaskLog
from podbay.airflow.triggers import GRACE_SECONDS
from podbay.airflow.trouble import answered, is_lasting, is_outside, pauses, words_of
from podbay.airflow.unrendered import cluster_parameters
from podbay.errors import InvalidInputError, PodbayError
from podbay.kube.lease import LeasedCluster, lease
from podbay.lifecycle.checkpoint import Checkpoint

if TYPE_CHECKING:
    from podbay.deployment.raising import FormerTry

__all__ = ["TriggerWork"]

YOUNG_SECONDS: Final = 3.0
"""A task handed over so lately had no earlier life: it would have had to run its pod to the end and lose its triggerer."""
UNKNOWN_SECONDS: Final = 1800.0
"""For Airflow's word whether a task has a pod, if the task's own time does not end before."""
LATE_SECONDS: Final = GRACE_SECONDS / 2
"""To learn what there is of a task whose time is up, before the scheduler takes it away."""
PAUSES: Final = (5.0, 15.0, 30.0, 60.0, 120.0)
"""Seconds between attempts to end a task's pod; a busy triggerer's supervisor does not answer for a minute, and a cluster
that is updated for two."""
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
        self.ending: set[asyncio.Task[None]] = set()
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
        self.carried = replace(carried, priority=weight_of(ti, carried.priority))
        self.key: TaskKey = key_of(ti)
        self.run_: TaskRun | None = None
        self._ti = ti
        self._owner = owner
        self._timeout_after = timeout_after
        self._given: Mapping[str, Any] | None = None
        """Rendered, as soon as they are."""
        self._shared = _shared()
        prefix = carried.parameters.get("container_name_log_prefix_enabled", True)
        self.log = TaskLog(log.log, prefix=bool(prefix), budget=self._shared.budget, relay=log_relay())
        age = self._age()
        self._is_young = age is not None and age < YOUNG_SECONDS

    @property
    def keeps_killed(self) -> bool:
        return self._known.get("on_kill_action") == "keep_pod"

    @property
    def _known(self) -> Mapping[str, Any]:
        """The parameters, rendered if they are; those that matter for an end are no templates."""
        return self.carried.parameters if self._given is None else self._given

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
                begun = await self._begun()
        except TimeoutError:
            if not bound.expired():
                raise
            raise InvalidInputError(
                f"execution_timeout: the {self.carried.timeout:g} s of the task were over while it waited for answers of "
                "Airflow"
            ) from None
        return None if begun is None else await self._run_to_end(*begun)

    async def _begun(self) -> tuple[Job, Checkpoint | None] | None:
        """What is to be run, and what earlier lives have left; None if a worker must say."""
        given = await self._given_now()
        if given is None:
            return None
        self._given = given
        job = replace(self._plain_job(given), kept_by_worker=self.carried.rendered)
        checkpoint, writers = await self._earlier_life(job)
        job = replace(job, told={"writers": sorted(writers | {self._shared.name})})
        try:
            job = await self._with_deployment(job)
        except InvalidInputError as error:
            if checkpoint is None or not checkpoint.uid:
                raise
            return await self._as_made(job, error), checkpoint
        return replace(job, former=await self._former(job)), checkpoint

    async def _run_to_end(self, job: Job, checkpoint: Checkpoint | None) -> TaskEnd:
        """A task that has a pod already waits for what only stands in the way of finding it."""
        remaining, began = self._remaining(checkpoint), time.monotonic()
        for pause in pauses():
            left = None if remaining is None else max(0.0, remaining - (time.monotonic() - began))
            self.run_ = run = TaskRun(job, self._shared.calls, self.log, self._shared.limiter)
            try:
                return await run.run(checkpoint=checkpoint, remaining=left)
            except Exception as error:
                if checkpoint is None or run.has_begun or not is_outside(error) or left == 0.0:
                    raise
                refused = isinstance(error, InvalidInputError) and run.choice is not None
                if refused and not job.as_made and checkpoint.uid:
                    job = await self._as_made(job, error)
                    continue
                wait = pause if left is None else min(pause, left)
                self.log.warning(
                    f"The task has a pod, which goes on, and is looked for again in {wait:.0f} s: {words_of(error)}"
                )
            await asyncio.sleep(wait)
        raise AssertionError("the pauses have no end")

    async def _as_made(self, job: Job, error: Exception) -> Job:
        """What would refuse the pod if it were made now does not end the one that runs."""
        self.log.warning(
            f"The task's pod could not be made any more: {error}\nThe one there is goes on as it was made, and no other "
            "follows it in this try."
        )
        namespace = await self._answered("pod_namespace")
        return job.only_what_is_there(namespace if isinstance(namespace, str) else None)

    async def _given_now(self) -> dict[str, Any] | None:
        """Rendered parameters; None if those of a task that has a pod cannot be rendered any more. Raises InvalidInputError."""
        try:
            rendered = await self._rendered()
            return rendered and with_function(rendered, self.carried, self._shared.settings)
        except Exception as error:
            # The texts are those of the DAG as it was, what they refer to is of the DAG as it is.
            if self._is_young or not is_outside(error) or not await self._has_pod():
                raise
            self.log.warning(words_of(error))
            return None

    def _plain_job(self, given: Mapping[str, Any]) -> Job:
        return Job(
            key=self.key,
            carried=self.carried,
            given=given,
            owner=self._owner,
            settings=self._shared.settings,
            airflow_version=_airflow_version(),
            # In a triggerer a try ends by itself, which ends its pod, or by a user.
            cleared=self.key.try_number - 1,
        )

    async def _with_deployment(self, job: Job) -> Job:
        """Raises InvalidInputError for a podbay.yaml that is not right."""
        return replace(
            job,
            mutate=await asyncio.to_thread(pod_mutation, self.carried.queue),
            deployment=await asyncio.to_thread(current_deployment),
        )

    async def _has_pod(self) -> bool:
        """An earlier life of this try had one."""
        return self._incarnation(await self._answered("pod_name")) is not None

    def _incarnation(self, name: Any) -> int | None:
        return incarnation_of(self._plain_job(self._known), name)

    async def _answered(self, name: str) -> Any:
        """As `_pulled`, of a task that may have a pod: it waits for the answer."""
        return await answered(lambda: self._pulled(name), self.log.warning, seconds=UNKNOWN_SECONDS)

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
        if self._is_young:
            return None, set()
        name = await self._answered("pod_name")
        incarnation = incarnation_of(job, name)
        # An exact name is that of each try's pod; whose checkpoint it is the checkpoint says itself.
        if incarnation is None and (name is None or job.given.get("random_name_suffix", True)):
            return None, set()
        number = self.key.try_number
        kept = await self._answered(checkpoint_key(number))
        saved = checkpoint_of(kept, number)
        if saved is None:
            if incarnation is None:
                return None, set()
            # A pod that is not there any more must not be made a second time, even if nothing else is known of it.
            return Checkpoint(incarnation=incarnation, pod=name, uid=UNKNOWN_UID), set()
        writers = set(kept.get("writers") or ())
        if self._shared.name in writers:
            self.log.info(
                "This triggerer has had the task before, and Airflow begins its log anew: so do the lines."
            )
            saved = replace(saved, positions={})
        return saved, writers

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
        """Somebody has ended the task, or another trigger has it: which of the two only Airflow knows (airflow.md T6).

        Returns after the first attempt; Airflow gives it half a minute, after which the attempts go on.
        """
        tried = asyncio.Event()
        ending = asyncio.create_task(self._end_killed(tried))
        self._shared.ending.add(ending)
        ending.add_done_callback(self._shared.ending.discard)
        ending.add_done_callback(lambda _: tried.set())
        await tried.wait()

    async def _end_killed(self, tried: asyncio.Event) -> None:
        for pause in PAUSES:
            if await self._killed():
                return
            tried.set()
            await asyncio.sleep(pause)
        if not await self._killed():
            self.log.warning("The pod is left to the next try or the healer.")

    async def _killed(self) -> bool:
        """Whether nothing more is to be done."""
        try:
            state = await self._shared.calls.state_of(self.key)
        except Exception as error:  # noqa: BLE001 - a busy supervisor, one that ends, an Airflow that asks otherwise
            self.log.info(f"{type(error).__name__}: {error}")
            self.log.warning("Airflow did not say what became of the task: the pod stays until it does.")
            return False
        if state == "deferred":
            # Another triggerer's; or that of a new try, which ends this one's pod itself.
            self.log.info("The pod is left to the trigger that has the task now.")
            return True
        try:
            # Unless a worker has the task, nobody has it: then it does not matter which life's the pod is.
            await self._end_pods("the task was ended by a user", others=state not in ON_WORKERS)
        except Exception as error:  # noqa: BLE001 - Airflow may not say where the pod is, the cluster not answer
            self.log.warning(f"The pod could not be deleted: {words_of(error)}")
            return is_lasting(error)
        return True

    async def delete(self, why: str) -> None:
        """The task has failed: delete its pods, also one of an earlier life that this one has not found. Raises PodbayError,
        TimeoutError, and what Airflow's answers raise."""
        await self._end_pods(why, others=not self._is_young)

    async def _end_pods(self, why: str, *, others: bool) -> None:
        """Delete this life's pods, with `others` also running ones of other lives of the task."""
        run = self.run_
        if run is None or run.choice is None or not run.namespace or not run.pod_names:
            if others:
                await self._end_pod_of_earlier_life(why)
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

    async def _end_pod_of_earlier_life(self, why: str) -> None:
        """This one has only begun, and knows of the pod what stands in Airflow; nobody else is left to end it."""
        name, namespace = await self._pulled("pod_name"), await self._pulled("pod_namespace")
        if self._incarnation(name) is None or not isinstance(namespace, str):
            return
        given = cluster_parameters(self.carried) if self._given is None else self._given
        trouble: Exception | None = None
        # In which of its clusters it is only its checkpoint says, and not always.
        for place in places_of(given):
            try:
                choice = await read_cluster(place.given, self._shared.calls)
                async with lease(choice.config) as cluster:
                    deleted = await self._deleted(cluster, namespace, [name], True)
            except PodbayError as error:
                trouble = trouble or error
                continue
            if deleted:
                self.log.info(f"Pod {name} was deleted: {why}.")
                return
        if trouble is not None:
            raise trouble

    async def _deleted(
        self, cluster: LeasedCluster, namespace: str, names: Sequence[str], others: bool
    ) -> list[str]:
        grace = self._known.get("termination_grace_period")
        return await delete_own_pods(cluster, namespace, names, self._owner, grace, others=others)


def _airflow_version() -> str:
    from airflow.version import version

    return str(version)
