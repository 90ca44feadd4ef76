"""Runs one pod to its end on a leased cluster: carries out what the machine wants, tells it what happens.

    async with lease(config) as cluster:
        run = PodRun(cluster, plan, driver)
        outcome = await run.run()

One task of it reads events one after another; requests, the pod's changes and its log are tasks that only post events.
Cancelling `run` leaves the pod as it is, exactly as a crash would; a later run of the same plan goes on from there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from podbay.aio.alarm import Alarm
from podbay.aio.clock import Clock, SystemClock
from podbay.aio.tasks import TaskGroup
from podbay.errors import ApiError, InvalidInputError, PodbayError
from podbay.kube.lease import LeasedCluster
from podbay.kube.log_reader import LogLine, LogSource
from podbay.kube.logs import LogBatch, PodLogFollower
from podbay.kube.watch import Scope
from podbay.lifecycle import state as s
from podbay.lifecycle.checkpoint import Checkpoint
from podbay.lifecycle.diagnosis.diagnose import diagnose
from podbay.lifecycle.diagnosis.model import Facts
from podbay.lifecycle.first_answer import first_answer, patience
from podbay.lifecycle.machine import step
from podbay.lifecycle.memory import beginning, known_pod, remembered
from podbay.lifecycle.outage import Outage
from podbay.lifecycle.outcome import Outcome
from podbay.lifecycle.plan import PodPlan, Rules
from podbay.lifecycle.requests import PodRequests
from podbay.lifecycle.scopes import is_same_task_try, own_scope, scope_of
from podbay.objects.meta import Object, name_of, namespace_of, uid_of
from podbay.pods.sidecar import SIDECAR_NAME

__all__ = ["Driver", "PodRun"]

REFUSED_SECONDS = 60.0
"""How long a run that has a pod bears to be refused at its beginning: an API server that starts knows nobody yet, and whoever
gives credentials may have gone down with it."""
ATTACH_SECONDS = 2.0
"""How long a kill waits for the log streams of a pod that has just begun."""
LAST_LINES, LAST_LINE = 10, 500
"""Lines of the main container's end, and characters of each, that a diagnosis may look at."""
LAST_LINES_SECONDS = 2.0
"""How long, after a pod's deletion was accepted, the last words of its other containers are waited for."""


class Driver:
    """Whom the run serves: an Airflow trigger, a worker, the command line. Override what is wanted.

    What these raise ends the run as a crash would: the pod stays, and a later run goes on.
    """

    async def phase(self, phase: s.Phase, text: str) -> None:
        """The run has come to a phase; text says what is waited for, if anything."""

    async def lines(self, batch: LogBatch) -> None:
        """Lines of a container, in order, each once. They count as taken over when this returns."""

    async def made(self, pod: Object) -> None:
        """The pod exists, whichever life has made it. Runs beside the rest, and ends with the run at the latest."""

    async def save(self, checkpoint: Checkpoint) -> None:
        """Write it down where a later life of the run finds it. Called after a create, and with the outcome."""

    async def decided(self, outcome: Outcome) -> None:
        """The outcome is certain; store it and its result. The pod is removed when this has returned."""


class PodRun:
    """One plan, run once. `kill` may be called at any time."""

    def __init__(
        self,
        cluster: LeasedCluster,
        plan: PodPlan,
        driver: Driver | None = None,
        *,
        checkpoint: Checkpoint | None = None,
        clock: Clock | None = None,
        trouble: PodbayError | None = None,
    ) -> None:
        """trouble: what keeps the run from its cluster, where somebody has waited for that in vain; it is its end."""
        self.plan = plan
        self.driver = driver or Driver()
        self._cluster = cluster
        self._clock = clock or SystemClock()
        self._start = checkpoint or Checkpoint()
        self._trouble = trouble
        self._requests = PodRequests(cluster.client, self._clock, plan.container, cluster.looks)
        self._manifest = plan.build(self._start.incarnation)
        other = name_of(plan.build(self._start.incarnation + 1))
        self._rules: Rules = replace(plan, replaceable=other != name_of(self._manifest))
        self._state = s.State()
        self._inbox: deque[s.Event] = deque()
        self._woken = asyncio.Event()
        self._group: TaskGroup | None = None
        self._follower: PodLogFollower | None = None
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._following = asyncio.Event()
        self._log_ended = asyncio.Event()
        self._outcome: Outcome | None = None
        self._outage = Outage(self._clock, self._tell)

    # -- for the driver

    @property
    def state(self) -> s.State:
        """What is known at this moment."""
        return self._state

    def kill(self, by: str) -> None:
        """End the pod and the run; `by` says who wants it. Too late when the main container has ended."""
        self._post(s.Asked(self._now(), by))

    def checkpoint(self) -> Checkpoint:
        """What must be written down to go on from here."""
        state = self._state
        if state.phase == "new":
            # What an earlier life knew is not forgotten because this one has not looked yet.
            elapsed = self._now() - state.begun_at if state.begun_at else self._start.elapsed
            killed_by = self._start.killed_by or state.killed_by
            return replace(self._start, elapsed=elapsed, killed_by=killed_by)
        positions = self._follower.positions if self._follower is not None else self._start.positions
        spent = dict(state.spent)
        if state.clock is not None:
            spent[state.clock] = spent.get(state.clock, 0.0) + self._now() - state.clock_since
        return Checkpoint(
            incarnation=state.incarnation,
            pod=state.name,
            uid=state.uid,
            positions=dict(positions),
            elapsed=self._now() - state.begun_at,
            spent=spent,
            last=remembered(state, self.plan.container),
            deletion_seen=state.deletion_seen,
            killed_by="" if state.kill_is_deadline else state.killed_by,
            withdrawing=state.withdrawal != "no",
            outcome=state.outcome,
        )

    async def run(self) -> Outcome:
        """To the end. Raises what the driver raises; everything else is an outcome."""
        alarm = Alarm(self._clock, self._tick, name=f"deadline/{name_of(self._manifest)}")
        async with AsyncExitStack() as stack:
            stack.push_async_callback(alarm.aclose)
            self._group = await stack.enter_async_context(TaskGroup(f"pod/{name_of(self._manifest)}"))
            self._state = s.State(begun_at=self._now() - self._start.elapsed)
            self._do("find", self._find())
            while self._outcome is None:
                while self._inbox and self._outcome is None:
                    self._state, actions = step(self._rules, self._state, self._inbox.popleft())
                    for action in actions:
                        if isinstance(action, s.Wake):
                            alarm.set(action.at)
                        else:
                            await self._act(action)
                if self._outcome is None:
                    self._woken.clear()
                    if not self._inbox:
                        await self._woken.wait()
            await self._last_words()
        return self._outcome

    # -- plumbing

    def _now(self) -> float:
        return self._clock.monotonic()

    def _post(self, event: s.Event) -> None:
        self._inbox.append(event)
        self._woken.set()

    def _tick(self) -> None:
        self._post(s.Tick(self._now()))

    def _do(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        assert self._group is not None
        self._group.start(name, work)

    async def _tell(self, text: str) -> None:
        await self.driver.phase(self._state.phase, text)

    async def _tell_new(self, text: str) -> None:
        await self.driver.phase("new", text)

    async def _answer(self, request: Coroutine[Any, Any, s.Event]) -> None:
        self._post(await request)

    async def _act(self, action: s.Action) -> None:
        state, requests = self._state, self._requests
        match action:
            case s.Create():
                self._manifest = self.plan.build(action.incarnation)
                self._do("create", self._answer(requests.create(self._manifest)))
            case s.Adopt(pod=pod):
                self._forget_follower()
                self._do(f"follow/{name_of(pod)}", self._follow(pod))
                self._do(f"made/{name_of(pod)}", self.driver.made(pod))
            case s.Find():
                self._do("look", self._look(action))
            case s.ReadEvents(needed=needed):
                pod = known_pod(state, self._manifest)
                self._do("explain", self._answer(requests.explain(pod, needed=needed)))
            case s.WaitForLogs(ended=ended):
                self._do("drain", self._drain(ended))
            case s.ReadResult(patient=patient):
                reading = requests.result(state.namespace, state.name, patient=patient)
                self._do("result", self._answer(reading))
            case s.Kill(uid=uid, grace=grace):
                self._do("kill", self._kill(uid, grace))
            case s.Withdraw(uid=uid, version=version):
                self._do(
                    "withdraw", self._answer(requests.withdraw(self._namespace(), state.name, uid, version))
                )
            case s.Delete(uid=""):
                self._post(s.Cleaned(self._now()))
            case s.Delete(uid=uid):
                self._do("delete", self._answer(requests.delete(self._namespace(), state.name, uid)))
            case s.Mark(uid=uid, hold=hold):
                self._do("mark", self._answer(requests.mark(self._namespace(), state.name, uid, hold)))
            case s.Tell(phase=phase, text=text):
                await self.driver.phase(phase, text)
            case s.Save():
                await self.driver.save(self.checkpoint())
            case s.Decide(outcome=outcome):
                await self._decide(outcome)
            case s.Finish(outcome=outcome):
                self._outcome = self._counted(outcome)
            case s.Wake():
                pass

    def _namespace(self) -> str:
        return self._state.namespace or namespace_of(self._manifest)

    async def _decide(self, outcome: Outcome) -> None:
        await self.driver.decided(self._counted(outcome))
        await self.driver.save(self.checkpoint())
        self._post(s.Decided(self._now()))

    def _counted(self, outcome: Outcome) -> Outcome:
        if not outcome.pod:
            return outcome
        outcome = self._outage.at_end(outcome)
        requests = dict(self._cluster.client.counter.of(outcome.namespace, outcome.pod))
        return replace(outcome, receipt=replace(outcome.receipt, requests=requests))

    # -- what is there

    async def _find(self) -> None:
        """Pods of the same task try that exist, from the shared watch: no request of its own."""
        start = self._start
        try:
            if self._trouble is not None:
                raise self._trouble
            async with self._cluster.watch(scope_of(self._manifest)) as store:
                await first_answer(
                    store,
                    self._clock,
                    is_enough=self._is_enough,
                    tell=self._tell_new,
                    bears=REFUSED_SECONDS if start.uid else 0.0,
                )
                pods = [pod for pod in store.objects() if is_same_task_try(self._manifest, pod)]
        except PodbayError as err:
            if start.uid and not isinstance(err, InvalidInputError):
                # The pod may run on, so this is no end; it is asked for by name, and a kill and the deadline count meanwhile.
                self._outage.begins(err)
                self._post(beginning(start, self._now(), ()))
                return
            found = diagnose(Facts(pod=self._manifest, container=self.plan.container, error=err))
            self._post(s.Refused(self._now(), err, found, final=True))
            return
        self._post(beginning(start, self._now(), pods))

    def _is_enough(self, waited: float) -> bool:
        """A run that has a pod already waits until its own deadline, or until somebody wants its end."""
        if self._start.uid:
            limit, state = self._rules.deadlines.run, self._state
            is_late = limit is not None and self._now() >= state.begun_at + limit
            return is_late or bool(state.killed_by or self._start.killed_by)
        return waited >= patience(answered=self._cluster.client.answered)

    async def _look(self, action: s.Find) -> None:
        name = action.name or name_of(self.plan.build(self._state.incarnation))
        found = await self._requests.look(namespace_of(self._manifest), name)
        if found is None or (action.uid and uid_of(found) != action.uid):
            self._post(s.Gone(self._now(), None))
        elif action.uid or is_same_task_try(self._manifest, found):
            self._post(s.Created(self._now(), found))
        else:
            self._post(s.Gone(self._now(), None))

    # -- the pod and its log

    def _forget_follower(self) -> None:
        self._follower = None
        self._last_lines.clear()
        self._following.clear()
        self._log_ended.clear()

    async def _follow(self, pod: Object) -> None:
        """Tell of every change of this pod until it is gone, and hand its lines over."""
        source = LogSource(
            self._cluster.client, self._cluster.log_slots, self._clock, namespace_of(pod), name_of(pod)
        )
        same_pod = uid_of(pod) == self._start.uid
        follower = PodLogFollower(
            source,
            uid=uid_of(pod),
            positions=self._start.positions if same_pod else None,
            follow=lambda name: name != SIDECAR_NAME and self.plan.logs(name),
        )
        async with follower:
            self._follower = follower
            self._following.set()
            self._do(f"log/{name_of(pod)}", self._hand_over(follower))
            follower.observe(pod)
            scope = scope_of(pod)
            while await self._watch(pod, scope, follower):
                # It has left the common watch (somebody changed its labels): it gets one of its own.
                scope = own_scope(pod)
            # Lines that are on their way are still handed over; the run ends this task.
            await asyncio.Event().wait()

    async def _watch(self, pod: Object, scope: Scope, follower: PodLogFollower) -> bool:
        """False when the pod is gone, True when it exists and this watch does not show it any more."""
        last = pod
        async with (
            self._cluster.watch(scope) as store,
            store.subscribe(namespace_of(pod), name_of(pod), known=pod) as changes,
        ):
            self._do(f"outage/{name_of(pod)}", self._outage.watch(store))
            async for change in changes:
                if change.type != "DELETED" and change.object is not None:
                    last = change.object
                    follower.observe(last)
                    self._post(s.Seen(self._now(), last))
                    continue
                last = change.object or last
                there = await self._requests.look(namespace_of(pod), name_of(pod))
                if there is not None and uid_of(there) == uid_of(pod):
                    follower.observe(there)
                    self._post(s.Seen(self._now(), there))
                    return True
                follower.observe(last)
                follower.pod_gone()
                self._post(s.Gone(self._now(), last))
                return False
        return False

    async def _hand_over(self, follower: PodLogFollower) -> None:
        try:
            async for batch in follower.batches():
                await self.driver.lines(batch)
                if batch.container == self.plan.container:
                    self._last_lines.extend(line.text[:LAST_LINE] for line in batch.lines[-LAST_LINES:])
        except ApiError as err:
            # Only what the cluster says of the log comes out here as ApiError; the outcome does not depend on it.
            await self._notice(f"the log cannot be read any more: {err}")
        self._log_ended.set()

    async def _notice(self, why: str) -> None:
        text = f"[podbay] lines may be missing here: {why}"
        notice = LogLine(self.plan.container, 0, text, notice=True)
        await self.driver.lines(LogBatch(self.plan.container, [notice], None))

    async def _kill(self, uid: str, grace: float | None) -> None:
        """What a container wrote before it is killed can be read only while the pod is there."""
        if self._follower is not None:
            await self._follower.attached(ATTACH_SECONDS)
        # Of a pod that was not looked at yet only the name is known.
        namespace, name = self._namespace(), self._state.name
        self._post(await self._requests.delete(namespace, name, uid, grace=grace))

    async def _drain(self, ended: tuple[str, ...]) -> None:
        """Wait until the ended containers' lines have been handed over."""
        if self._follower is not None or ended:
            await self._following.wait()
            assert self._follower is not None
            done = asyncio.ensure_future(self._log_ended.wait())
            drained = asyncio.ensure_future(self._follower.finish(ended))
            try:
                await asyncio.wait((done, drained), return_when=asyncio.FIRST_COMPLETED)
            finally:
                done.cancel()
                drained.cancel()
        elif self._state.remembered is not None and self.plan.logs(self.plan.container):
            await self._notice("the pod went away while nobody followed its log")
        self._post(s.LogsRead(self._now(), tuple(self._last_lines)))

    async def _last_words(self) -> None:
        """Other containers of a deleted pod may have something to say while they end."""
        if self._follower is None or self._follower.idle:
            return
        try:
            await asyncio.wait_for(self._log_ended.wait(), LAST_LINES_SECONDS)
        except TimeoutError:
            pass
