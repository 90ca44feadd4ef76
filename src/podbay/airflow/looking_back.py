"""What earlier lives and tries of a task have left in a cluster: taken over, or removed, before anything new is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from podbay.aio.clock import SystemClock
from podbay.airflow.building import Builder, Job
from podbay.airflow.ownership import claim, delete_left, delete_tries, earlier_try, pods_of_task
from podbay.airflow.tasklog import TaskLog
from podbay.errors import PodbayError
from podbay.kube.lease import LeasedCluster
from podbay.lifecycle.checkpoint import Checkpoint
from podbay.lifecycle.first_answer import first_answer
from podbay.lifecycle.former import of_this_run
from podbay.objects.meta import Object, name_of

__all__ = ["LookBack"]


@dataclass(frozen=True, slots=True)
class LookBack:
    """Of one task instance."""

    job: Job
    log: TaskLog

    async def take_over(
        self,
        cluster: LeasedCluster,
        namespace: str,
        builder: Builder,
        *,
        known: Checkpoint | None,
        keeps: bool,
        is_enough: Callable[[float], bool],
    ) -> set[str]:
        """Names of the pods that are this run's from now on. `builder` then makes pods of the try whose pod goes on; `known`
        is what an earlier life has written down; `keeps`: ended pods are left for people; `is_enough` judges the seconds that
        an unreachable cluster was waited for.

        Raises PodbayError if it was not reached: nobody knows then what is left there.
        """
        job = self.job
        synced = partial(first_answer, clock=SystemClock(), is_enough=is_enough, tell=self._tell)
        pods = await pods_of_task(cluster, namespace, job.identity, synced)
        cleared = await self._without_cleared(cluster, pods)
        if job.given.get("durable") is not False:
            earlier = earlier_try(pods, job.identity, after=cleared)
            if earlier is not None:
                builder.identity = earlier
                self.log.info(f"Takes over the pod of try {earlier.try_number}, which still runs (durable).")
        known = known or Checkpoint()
        same = [pod for pod in pods if builder.is_own(pod)]
        own, builder.first = of_this_run(same, uid=known.uid, name=known.pod)
        for pod in same:
            if pod not in own:
                self.log.info(f"Pod {name_of(pod)} is of a former run of the same name, and is left alone.")
        try:
            await claim(cluster, own, job.owner)
        except PodbayError as error:
            self.log.warning(f"The pod could not be marked as this one's: {error}")
        if not keeps:
            await self._without_left(cluster, pods)
        return {name_of(pod) for pod in own}

    async def _tell(self, text: str) -> None:
        self.log.info(f"{text[:1].upper()}{text[1:]}")

    async def _without_left(self, cluster: LeasedCluster, pods: list[Object]) -> None:
        """A worker that was killed leaves its pod, which then ends by itself and has no other task than the next try's."""
        try:
            names = await delete_left(cluster, pods, before=self.job.identity.try_number)
        except PodbayError as error:
            self.log.warning(f"The ended pod of an earlier try could not be deleted: {error}")
        else:
            for name in names:
                self.log.info(f"Pod {name} was deleted: it has ended, and the try that made it was lost.")

    async def _without_cleared(self, cluster: LeasedCluster, pods: list[Object]) -> int:
        """Who clears a task wants it to run anew. Its former life ends its pod, unless that life is lost."""
        given, cleared = self.job.given, self.job.cleared
        if given.get("on_kill_action") == "keep_pod":
            return 0
        grace = given.get("termination_grace_period")
        try:
            names = await delete_tries(cluster, pods, upto=cleared, grace=grace)
        except PodbayError as error:
            self.log.warning(f"The pod of an earlier try could not be deleted: {error}")
        else:
            for name in names:
                self.log.info(f"Pod {name} was deleted: it is of a try that was cleared.")
        return cleared
