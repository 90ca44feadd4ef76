"""One task instance from its rendered parameters to its end, on whatever event loop: the same for triggerer and worker.

It chooses the cluster, builds the pod, finds what earlier lives and tries have left, and lets the engine run; what the
engine tells becomes lines of the task's log, XComs and the end of the task (design D4).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from typing import Any, Final

from podbay.airflow.building import Builder, Job, limits_of
from podbay.airflow.calls import AirflowCalls
from podbay.airflow.clouds import cloud_cluster
from podbay.airflow.connection import ClusterChoice, choose_cluster
from podbay.airflow.ending import TaskEnd, end_of
from podbay.airflow.former_results import PUSHED, delete_former_results
from podbay.airflow.keeping import CHECKPOINT_KEY, checkpoint_key, kept_of, memory_of
from podbay.airflow.lending import Lender
from podbay.airflow.limits import Limiter
from podbay.airflow.looking_back import LookBack
from podbay.airflow.overflow import Place, moved_from, places_of
from podbay.airflow.ownership import delete_own_pods, here, others_on
from podbay.airflow.pages import LINK_KEY, pod_link
from podbay.airflow.request import (
    deadlines,
    main_container_name,
    retention,
    skip_codes,
    transport,
    wanted_logs,
)
from podbay.airflow.sampling import Samples, sampled
from podbay.airflow.saving import is_worth_saving, seconds_between
from podbay.airflow.tasklog import Hearer, TaskLog
from podbay.errors import InvalidInputError, PodbayError
from podbay.kube.client import KubeClient
from podbay.kube.lease import LeasedCluster, lease
from podbay.kube.logs import LogBatch
from podbay.lifecycle.checkpoint import Checkpoint
from podbay.lifecycle.engine import Driver, PodRun
from podbay.lifecycle.first_answer import FIRST_ANSWER_SECONDS, patience
from podbay.lifecycle.outcome import Outcome
from podbay.lifecycle.plan import Keep, PodPlan
from podbay.lifecycle.state import Phase
from podbay.objects.meta import Object, name_of, namespace_of

__all__ = ["CHECKPOINT_KEY", "TaskRun", "checkpoint_key", "checkpoint_of", "incarnation_of", "read_cluster"]

FORMER_PODS: Final = 100
"""Pods of former runs of the same name (lifecycle/former.py) after which a try's own are still told from another try's."""
NEW_CLUSTER_SECONDS: Final = 30.0
"""For a cluster that this process has not reached lately: it may be restarting just now."""


async def read_cluster(given: Mapping[str, Any], calls: AirflowCalls) -> ClusterChoice:
    """The cluster that rendered parameters mean. Raises InvalidInputError, and CredentialError for one of a cloud."""
    connection = given.get("kubernetes_conn_id", "kubernetes_default")
    extras = await calls.extras(connection)
    cloud = await cloud_cluster(given, extras, connection, calls)
    return choose_cluster(given, extras, connection=connection, cloud=cloud)


class TaskRun:
    """Run once. `kill` may be called at any time."""

    running = 0
    """In this process."""

    def __init__(
        self,
        job: Job,
        calls: AirflowCalls,
        log: TaskLog,
        limiter: Limiter | None = None,
        *,
        hears: Hearer | None = None,
    ) -> None:
        self.job = job
        self.log = log
        self.pod_names: set[str] = set()
        """Of pods that this run may have made or taken over."""
        self.namespace = ""
        self.choice: ClusterChoice | None = None
        self._calls = calls
        self.lender = Lender(job.given, calls)
        self.place = Place(given=job.given)
        self.hears = hears or Hearer()
        self._limiter = limiter
        self._killed_by = ""
        self._engine: PodRun | None = None

    @property
    def may_be_creating(self) -> bool:
        """A create was sent and nobody knows yet what became of it."""
        state = self._engine.state if self._engine is not None else None
        return state is not None and (state.creating or state.doubtful)

    @property
    def has_begun(self) -> bool:
        """The engine has the pod: whatever comes now, it has words and patience for."""
        return self._engine is not None

    def kill(self, by: str) -> None:
        """End the pod and the task; `by` says who wants it."""
        self._killed_by = by
        if self._engine is not None:
            self._engine.kill(by)

    async def abandon(self) -> list[str]:
        """After `run` has raised: delete this life's pods but those that are kept for people, and say which. Raises
        PodbayError."""
        given = self.job.given
        if self.choice is None or not self.namespace or given.get("on_kill_action") == "keep_pod":
            return []
        keep, _ = self._retention(self.namespace)
        grace = given.get("termination_grace_period")
        async with lease(self.choice.config) as cluster:
            return await delete_own_pods(
                cluster,
                self.namespace,
                sorted(self.pod_names),
                self.job.owner,
                grace,
                ended=keep == "never",
            )

    async def run(self, *, checkpoint: Checkpoint | None = None, remaining: float | None = None) -> TaskEnd:
        """To the end. `remaining` seconds are left of the task's time. Raises InvalidInputError before a pod exists."""
        places = places_of(self.job.given)
        for each in places[1:]:
            # One that does not exist is better known before it is needed.
            await self._calls.extras(each.connection)
        began = time.monotonic()
        TaskRun.running += 1
        try:
            with here(self.job.owner):
                if checkpoint is None:
                    # Else they may be this try's own, from an earlier life.
                    await delete_former_results(self.job, self._calls, self.log)
                if len(places) > 1 and await self._is_in_the_other(places[1], checkpoint):
                    checkpoint, places = moved_from(checkpoint), places[1:]
                while True:
                    self.place = places[0]
                    left = None if remaining is None else max(0.0, remaining - (time.monotonic() - began))
                    end = await self._run_in(checkpoint, left)
                    if end is not None:
                        return end
                    checkpoint, places = self._moved(), places[1:]
        finally:
            TaskRun.running -= 1

    async def _is_in_the_other(self, other: Place, checkpoint: Checkpoint | None) -> bool:
        """An earlier life went there, or an earlier try's pod still runs there."""
        if checkpoint is not None or self.job.identity.try_number == 1:
            return moved_from(checkpoint) is not None
        try:
            choice = await read_cluster(other.given, self._calls)
            builder = Builder(self.job, choice)
            self.namespace = namespace_of(builder.build(0))
            async with lease(choice.config) as cluster:
                # Not longer: what is silent there must not hold up the first one.
                return await self._look_back(
                    cluster, builder, None, lambda waited: waited >= FIRST_ANSWER_SECONDS
                )
        except PodbayError as error:
            self.log.warning(
                f"The cluster of connection {other.connection} does not say what it has: {error}"
            )
            return False

    def _moved(self) -> Checkpoint:
        assert self._engine is not None
        return Checkpoint(elapsed=self._engine.checkpoint().elapsed, moved=True)

    async def _run_in(self, checkpoint: Checkpoint | None, remaining: float | None) -> TaskEnd | None:
        """In the present place; None when there is no room and the task goes on in the next one."""
        self.choice = await read_cluster(self.place.given, self._calls)
        builder = Builder(self.job, self.choice)
        manifest = builder.build(0)
        async with lease(self.choice.config) as cluster:
            return await self._run_on(cluster, builder, manifest, checkpoint, remaining)

    async def _run_on(
        self,
        cluster: LeasedCluster,
        builder: Builder,
        manifest: Object,
        checkpoint: Checkpoint | None,
        remaining: float | None,
    ) -> TaskEnd | None:
        self.namespace = namespace_of(manifest)
        known = checkpoint is not None and not (checkpoint.moved and not checkpoint.uid)
        began = time.monotonic()
        trouble: PodbayError | None = None
        try:
            is_enough = self._enough(cluster, known, remaining)
            under_way = await self._look_back(cluster, builder, checkpoint, is_enough) or known
        except PodbayError as error:
            # Without a look nothing may be made. The engine has the words for it; a pod that is known it goes on to wait for.
            under_way, trouble = known, None if known else error
        if remaining is not None:
            remaining = max(0.0, remaining - (time.monotonic() - began))
        elapsed = checkpoint.elapsed if checkpoint is not None else 0.0
        manifest = builder.build(max(builder.first, checkpoint.incarnation if checkpoint is not None else 0))
        self.pod_names.add(name_of(manifest))
        if builder.note and not under_way:
            self.log.info(builder.note)
        if self.job.given.get("log_pod_spec_on_failure", True):
            # Of every run: for a task in the triggerer Airflow's page of rendered templates stays empty.
            is_function = self.job.carried.function is not None
            self.log.manifest(manifest, encoded=main_container_name(self.job.given) if is_function else "")
        async with AsyncExitStack() as stack:
            if trouble is None:
                await self._wait_for_room(cluster, stack, under_way)
            if trouble is None and not under_way:
                await self.lender.prepare()
            plan = self._plan(builder, manifest, None if remaining is None else elapsed + remaining)
            driver = _TaskDriver(self, self._calls, cluster.client, name_of(manifest))
            engine = PodRun(cluster, plan, driver, checkpoint=checkpoint, trouble=trouble)
            self._engine = driver.engine = engine
            driver.samples = await stack.enter_async_context(self._sampled(cluster))
            saving = asyncio.create_task(driver.keep_saving())
            stack.callback(saving.cancel)
            if self._killed_by:
                engine.kill(self._killed_by)
            outcome = self.lender.judge(await engine.run())
            self.hears.cleaned(engine.state.pod)
            if outcome.kind == "moved":
                self.log.info(f"{self.place.leaving(outcome.message)}")
                return None
            return await self._ended(driver, outcome)

    def _sampled(self, cluster: LeasedCluster) -> AbstractAsyncContextManager[Samples]:
        settings = self.job.settings
        return sampled(
            cluster.client,
            self.namespace,
            settings.deployment,
            self.pod_names,
            seconds=settings.usage_seconds,
            container=main_container_name(self.job.given),
        )

    async def _wait_for_room(self, cluster: LeasedCluster, stack: AsyncExitStack, under_way: bool) -> None:
        limits = limits_of(self.job)
        if self._limiter is None or not limits:
            return
        if under_way:
            self._limiter.adopt(limits)
            stack.callback(self._limiter.leave, limits)
            return
        others = await stack.enter_async_context(
            others_on(cluster, self.namespace, self.job.settings.deployment)
        )
        slot = self._limiter.slot(
            limits,
            priority=self.job.carried.priority,
            others=others,
            waits=lambda limit: self.log.info(f"Waits for others to end: {limit.name} is {limit.most}."),
        )
        await stack.enter_async_context(slot)

    def _enough(
        self, cluster: LeasedCluster, known: bool, remaining: float | None
    ) -> Callable[[float], bool]:
        """Which seconds are enough to wait for a cluster that is not reached; for a known pod all of the task's."""

        def is_enough(waited: float) -> bool:
            if self._killed_by or (remaining is not None and waited >= remaining):
                return True
            most = patience(answered=cluster.client.answered, never=NEW_CLUSTER_SECONDS)
            return not known and waited >= most

        return is_enough

    async def _look_back(
        self,
        cluster: LeasedCluster,
        builder: Builder,
        known: Checkpoint | None,
        is_enough: Callable[[float], bool],
    ) -> bool:
        """Take over what earlier lives of this try have left, or a pod of an earlier try that still runs. Raises PodbayError."""
        keeps = self._retention(self.namespace) != ("never", None)
        names = await LookBack(self.job, self.log).take_over(
            cluster, self.namespace, builder, known=known, keeps=keeps, is_enough=is_enough
        )
        self.pod_names |= names
        return bool(names)

    def _plan(self, builder: Builder, manifest: Object, run: float | None) -> PodPlan:
        given = self.job.given
        grace = given.get("termination_grace_period")
        keep, hold = self._retention(namespace_of(manifest))
        return PodPlan(
            build=builder.build,
            container=main_container_name(given),
            result=transport(given, self.job.settings.result_transport),  # type: ignore[arg-type]
            deadlines=deadlines(given, run=run),
            keep=keep,
            hold=hold,
            unheld_codes=skip_codes(given.get("skip_on_exit_code")),
            keep_on_kill=given.get("on_kill_action") == "keep_pod",
            infrastructure_retries=given.get("infrastructure_retries", 3),
            idempotent=bool(given.get("idempotent")),
            overflow=self.place.patience,
            logs=wanted_logs(given, manifest),
            kill_grace=None if grace is None else float(grace),
        )

    def _retention(self, namespace: str) -> tuple[Keep, float | None]:
        deployment = self.job.deployment
        is_ours = deployment is not None and deployment.namespace == namespace
        return retention(self.job.given, deployment.pods if deployment is not None and is_ours else None)

    async def _ended(self, driver: _TaskDriver, outcome: Outcome) -> TaskEnd:
        end = driver.end or await driver.push_end(outcome)
        if end.state == "failed":
            self.log.failure(outcome, end.message)
        else:
            self.log.info(end.message or f"Pod {outcome.pod} succeeded.")
        if outcome.receipt.image_id:
            self.log.info(f"Its image was {outcome.receipt.image_id}")
        held = driver.engine.state.held_until
        if held:
            where = f"{outcome.namespace}/{outcome.pod}"
            self.log.info(f"Pod {where} is held until {held}: podbay explain {where}; podbay release {where}")
        return end


class _TaskDriver(Driver):
    """Hears from the engine."""

    engine: PodRun
    samples: Samples

    def __init__(self, run: TaskRun, calls: AirflowCalls, client: KubeClient, name: str) -> None:
        self._run = run
        self._client = client
        self._name = name
        self._calls = calls
        self._told = ""
        self._pushed = ""
        self._created = ""
        self._results: list[str] = []
        self._warned = False
        self._started = False
        self.end: TaskEnd | None = None

    async def phase(self, phase: Phase, text: str) -> None:
        if phase == "running" and not self._started:
            self._started = True
            self._run.hears.started(self.engine.state.pod)
        if not self._run.job.given.get("log_events_on_startup", True):
            return
        said = f"{phase}: {text}" if text else phase
        if said != self._told:
            self._told = said
            self._run.log.info(f"Pod {self.engine.state.name or self._name}: {said}")

    async def lines(self, batch: LogBatch) -> None:
        await self._run.log.lines(batch)
        self._run.hears.lines(batch, self.engine.state.pod)

    async def save(self, checkpoint: Checkpoint) -> None:
        """What Airflow does not store is missed by a later life, if there is one; this life goes on."""
        pod = checkpoint.pod
        if pod and pod != self._pushed:
            self._run.pod_names.add(pod)
            if await self._stored("the name of the pod", self._push_name(pod)):
                self._pushed = pod
        if pod and pod != self._created:
            self._created = pod
            self._run.hears.created(self.engine.state.pod)
            if checkpoint.outcome is None and not checkpoint.withdrawing and not self._run.place.moved:
                # Its name tells the next life enough.
                return
        await self._stored("what is known of the pod", self._push_checkpoint(checkpoint))

    async def _stored(self, what: str, pushing: Coroutine[Any, Any, None]) -> bool:
        try:
            await pushing
        except Exception as error:  # noqa: BLE001 - whatever Airflow, or an XCom backend of somebody's, raises
            if not self._warned:
                self._warned = True
                self._run.log.warning(
                    f"Airflow does not store {what}: {_said(error)}. The task goes on without."
                )
            return False
        self._warned = False
        return True

    async def _push_name(self, pod: str) -> None:
        key = self._run.job.key
        await self._calls.push(key, "pod_name", pod)
        await self._calls.push(key, "pod_namespace", self._run.namespace)
        pattern = self._run.job.settings.pod_url
        if pattern:
            await self._calls.push(key, LINK_KEY, pod_link(pattern, self._run.namespace, pod))

    async def _push_checkpoint(self, checkpoint: Checkpoint) -> None:
        key = self._run.job.key
        # What it counts as told must have been told, should this process end now.
        await self._run.log.passed_on()
        checkpoint = replace(checkpoint, moved=self._run.place.moved)
        kept: dict[str, Any] = {"try": key.try_number, "state": checkpoint.to_json(), **self._run.job.told}
        if checkpoint.outcome is not None:
            kept |= kept_of(self._run.job, self.engine.state.pod, checkpoint.outcome, self.samples.to_json())
            if self._run.job.carried.multiple_outputs:
                kept[PUSHED] = self._results
        await self._calls.push(key, checkpoint_key(key.try_number), kept)
        if checkpoint.outcome is not None and checkpoint.outcome.kind == "moved" and not checkpoint.pod:
            # The next life asks for what is kept only if it finds the name of a pod.
            await self._calls.push(key, "pod_name", self._name)

    async def made(self, pod: Object) -> None:
        try:
            await self._run.lender.hand_over(self._client, pod)
        except PodbayError as error:
            self.engine.kill(self._run.lender.say(error))

    async def decided(self, outcome: Outcome) -> None:
        if outcome.kind == "moved":
            # The end of a pod, not of the task.
            return
        outcome = self._run.lender.judge(outcome)
        if outcome.pod:
            self._run.hears.ended(self.engine.state.pod)
        self.end = await self.push_end(outcome)

    async def push_end(self, outcome: Outcome) -> TaskEnd:
        """Hand the result on. A result that cannot be stored makes a failure of a success."""
        job = self._run.job
        end = end_of(outcome, job.given, job.carried)
        if job.kept_by_worker:
            end = replace(end, memory=memory_of(job, self.engine.state.pod, outcome))
        for name, value in end.xcoms.items():
            try:
                await self._calls.push(job.key, name, value)
                self._results.append(name)
            except Exception as error:  # noqa: BLE001 - whatever Airflow, or an XCom backend of somebody's, raises
                message = (
                    f"the result of pod {outcome.pod} could not be stored as XCom {name}: {_said(error)}"
                )
                if end.state != "success":
                    # It has a better reason.
                    self._run.log.warning(message)
                    continue
                return replace(end, state="failed", message=message, xcoms={})
        return end

    async def keep_saving(self) -> None:
        """Now and then: what is lost with this process was known at most so long ago."""
        counts = self._run.job.carried.counts_itself
        last: Checkpoint | None = None
        while True:
            await asyncio.sleep(seconds_between(TaskRun.running))
            now = self.engine.checkpoint()
            if is_worth_saving(now, last, counts=counts, running=TaskRun.running):
                last = now
                await self.save(now)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def incarnation_of(job: Job, name: Any) -> int | None:
    """Which incarnation of this try's pod has that name; None for another try's, and for no name."""
    if not isinstance(name, str):
        return None
    for incarnation in range(job.given.get("infrastructure_retries", 3) + 1 + FORMER_PODS):
        if name.endswith(replace(job.identity, incarnation=incarnation).digest()):
            return incarnation
    return None


def checkpoint_of(value: Any, try_number: int) -> Checkpoint | None:
    """What an earlier life of the same try has saved; None for none, another try's, and another version's."""
    if not isinstance(value, Mapping) or value.get("try") != try_number:
        return None
    try:
        return Checkpoint.from_json(value["state"])
    except (InvalidInputError, KeyError):
        return None
