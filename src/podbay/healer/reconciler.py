"""One round: what is there, what Airflow says, what is to be done, doing it. Level-triggered: each round starts from now.

The pods are looked at first and Airflow is asked afterwards, so its answer is never older than what it is applied to.
A round over a namespace without task pods asks Airflow nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime

from podbay.aio.clock import Clock
from podbay.errors import ApiError
from podbay.healer.acting import Actor, Done
from podbay.healer.airflow_api import AirflowApi
from podbay.healer.decide import Decision, decide, questions
from podbay.healer.matching import claim_of
from podbay.healer.memory import Memory
from podbay.healer.rules import Rules
from podbay.healer.world import AirflowAnswer, World
from podbay.kube.client import KubeClient
from podbay.kube.store import SharedStore
from podbay.objects.meta import metadata_of, name_of
from podbay.objects.resource import GVR

__all__ = ["Reconciler", "Round"]

NODES = GVR("", "v1", "nodes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round has seen and done."""

    decision: Decision
    done: tuple[Done, ...]
    pods: int
    """Task pods of this deployment, or such as may be."""
    seconds: float


class Reconciler:
    """The rounds of one deployment in one namespace."""

    def __init__(
        self, client: KubeClient, store: SharedStore, airflow: AirflowApi, rules: Rules, clock: Clock
    ) -> None:
        self._client = client
        self._store = store
        self._airflow = airflow
        self._rules = rules
        self._clock = clock
        self._memory = Memory()
        self._actor = Actor(client, airflow, rules.deployment)

    async def round(self, *, dry_run: bool = False, may_act: Callable[[], bool] = lambda: True) -> Round:
        """Raises what the cluster says to questions; what Airflow says ends in `decision.stopped`."""
        begun = self._clock.monotonic()
        now = await self._cluster_now()
        world = await self._look(now)
        pods = sum(claim_of(each.pod, self._rules) != "foreign" for each in world.pods)
        if pods or world.vanished:
            seen = world
            answer = await self._airflow.answer(
                lambda known: questions(replace(seen, airflow=known), self._rules)
            )
            world = replace(world, airflow=answer, moment=self._clock.monotonic())
            decision = decide(world, self._rules)
        else:
            decision = Decision()
        self._memory.notice(decision.noticed, world.moment)
        done = () if dry_run else await self._act(decision, now, may_act)
        return Round(decision=decision, done=done, pods=pods, seconds=self._clock.monotonic() - begun)

    async def _look(self, now: datetime) -> World:
        trouble = self._store.trouble_now
        moment = self._clock.monotonic()
        pods = self._memory.observe(self._store.objects(), moment, self._rules)
        return World(
            pods=pods,
            airflow=AirflowAnswer(),
            now=now,
            moment=moment,
            trouble="" if trouble is None and self._store.synced else str(trouble or "not listed yet"),
            nodes=await self._nodes(any(_needs_nodes(each.pod) for each in pods)),
            noticed=self._memory.noticed,
            vanished=self._memory.vanished(moment),
            acted=tuple(self._memory.acted),
        )

    async def _act(self, decision: Decision, now: datetime, may_act: Callable[[], bool]) -> tuple[Done, ...]:
        done = []
        for action in decision.actions:
            if not may_act():
                break
            moment = self._clock.monotonic()
            if action.deed == "report":
                if not self._memory.is_news(action.uid, action.check, moment):
                    continue
            else:
                self._memory.act(moment)
            result = await self._actor.take(action, now)
            if action.deed == "report" and result.result == "done":
                self._memory.tell(action.uid, action.check, moment)
            done.append(result)
        return tuple(done)

    async def _cluster_now(self) -> datetime:
        """The clock that wrote the stamps of the pods."""
        _, date = await self._client.version()
        try:
            return parsedate_to_datetime(date) if date else self._clock.now()
        except ValueError:
            return self._clock.now()

    async def _nodes(self, wanted: bool) -> frozenset[str] | None:
        if not wanted:
            return None
        try:
            found = await self._client.list(NODES)
        except ApiError as error:
            if error.code in (401, 403):
                return None
            raise
        return frozenset(name_of(node) for node in found.items)


def _needs_nodes(pod: dict[str, object]) -> bool:
    status = pod.get("status")
    phase = status.get("phase") if isinstance(status, dict) else None
    return "deletionTimestamp" in metadata_of(pod) or phase == "Unknown"
