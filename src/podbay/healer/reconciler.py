"""One round: what is there, what Airflow says, what is to be done, doing it. Level-triggered: each round starts from now.

The pods are looked at first and Airflow is asked afterwards, so its answer is never older than what it is applied to.
A round over namespaces without task pods asks Airflow nothing. Several clusters are one world: a task's pods are siblings
wherever they are, and a pod that has vanished in one cluster may be in another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from podbay.aio.clock import Clock
from podbay.errors import PodbayError
from podbay.healer.acting import Actor, Done
from podbay.healer.airflow_api import AirflowApi
from podbay.healer.decide import Decision, decide, questions
from podbay.healer.matching import claim_of
from podbay.healer.memory import Memory
from podbay.healer.rules import Rules
from podbay.healer.sites import NODES, Site, look_at
from podbay.healer.telling import TaskTeller
from podbay.healer.world import AirflowAnswer, ClusterAt, World
from podbay.kube.client import KubeClient
from podbay.kube.store import SharedStore

__all__ = ["NODES", "Reconciler", "Round"]

SECRETS_SECONDS: Final = 300.0
"""Between two looks at Secrets: what is wrong with them is not urgent, and idle rounds are to cost little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round has seen and done."""

    decision: Decision
    done: tuple[Done, ...]
    pods: int
    """Task pods of this deployment, or such as may be."""
    seconds: float


class Reconciler:
    """The rounds of one deployment, in a namespace of one cluster, or in each of several (`sites`)."""

    def __init__(
        self,
        client: KubeClient,
        store: SharedStore,
        airflow: AirflowApi,
        rules: Rules,
        clock: Clock,
        *,
        sites: Sequence[Site] = (),
        logs: Path | None = None,
    ) -> None:
        """sites: all clusters, this one first; none: it is the only one, and its Secrets are not looked at.
        logs: Airflow's base_log_folder, if this process may write there."""
        self._sites = tuple(sites) or (Site(client, store),)
        self._airflow = airflow
        self._rules = rules
        self._clock = clock
        self._memory = Memory()
        self._secrets_at: float | None = None
        clients = {site.name: site.client for site in self._sites}
        self._actor = Actor(
            client, airflow, rules.deployment, clients=clients, teller=TaskTeller(airflow, logs)
        )

    async def round(self, *, dry_run: bool = False, may_act: Callable[[], bool] = lambda: True) -> Round:
        """Raises what the only cluster says to questions; what Airflow says ends in `decision.stopped`."""
        begun = self._clock.monotonic()
        world = await self._look()
        pods = sum(claim_of(each.pod, self._rules) != "foreign" for each in world.pods)
        if pods or world.vanished:
            seen = world
            answer = await self._airflow.answer(
                lambda known: questions(replace(seen, airflow=known), self._rules)
            )
            world = replace(world, airflow=answer, moment=self._clock.monotonic())
        else:
            # Nothing is asked of Airflow that its answer could be wrong about.
            world = replace(world, airflow=AirflowAnswer(complete=True))
        decision = decide(world, self._rules)
        self._memory.notice(decision.noticed, world.moment)
        now = {each.name: each.now for each in world.clusters}
        done = () if dry_run else await self._act(decision, now, may_act)
        return Round(decision=decision, done=done, pods=pods, seconds=self._clock.monotonic() - begun)

    async def _look(self) -> World:
        moment = self._clock.monotonic()
        secrets = self._secrets_at is None or moment - self._secrets_at >= SECRETS_SECONDS
        errors: list[PodbayError] = []

        async def look(site: Site) -> ClusterAt:
            try:
                return await look_at(site, self._clock, self._rules, secrets=secrets)
            except PodbayError as error:
                errors.append(error)
                return ClusterAt(name=site.name, now=self._clock.now(), trouble=str(error))

        clusters = await asyncio.gather(*(look(site) for site in self._sites))
        if len(errors) == len(self._sites):
            raise errors[0]
        if secrets:
            self._secrets_at = moment
        here = [
            (cluster, pod)
            for cluster, site in zip(clusters, self._sites, strict=True)
            for pod in site.store.objects()
        ]
        moment = self._clock.monotonic()
        return World(
            pods=self._memory.observe(here, moment, self._rules),
            clusters=tuple(clusters),
            airflow=AirflowAnswer(),
            moment=moment,
            noticed=self._memory.noticed,
            vanished=self._memory.vanished(moment),
            acted=tuple(self._memory.acted),
            failed=dict(self._memory.failed),
        )

    async def _act(
        self, decision: Decision, now: dict[str, datetime], may_act: Callable[[], bool]
    ) -> tuple[Done, ...]:
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
            began = self._clock.now()
            result = await self._actor.take(action, now[action.cluster])
            result = replace(result, began=began, seconds=self._clock.monotonic() - moment)
            if action.deed == "report" and result.result == "done":
                self._memory.tell(action.uid, action.check, moment)
            elif action.deed != "report" and result.result == "failed":
                self._memory.fail(action.uid, action.check, moment)
            elif action.deed != "report":
                self._memory.succeed(action.uid, action.check)
            done.append(result)
        return tuple(done)
