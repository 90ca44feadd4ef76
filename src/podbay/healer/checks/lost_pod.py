"""A task that waits for a pod that has vanished, and does not notice. Pure.

Asked for pods that were seen and are gone, not for pods that are there (spec 23 v).
"""

from __future__ import annotations

from typing import Final

from podbay.healer.facts import Deed, Finding
from podbay.healer.rules import Rules
from podbay.healer.world import TaskInstance, Vanished, World

__all__ = ["WAITING", "check_lost"]

WAITING: Final = frozenset({"running", "deferred"})
"""States in which a task has a pod and waits for it."""


def check_lost(gone: Vanished, owner: TaskInstance | None, world: World, rules: Rules) -> Finding | None:
    """owner: the task instance that the pod's identity names, as Airflow tells it now."""
    if owner is None or owner.state not in WAITING:
        return None
    if owner.try_number != gone.identity.try_number:
        return None
    deed: Deed = "fail_task" if rules.fail_lost else "report"
    # Not by the task instance's max_tries: clearing raises it, and a task that always loses its pod would go on for ever.
    retries = world.airflow.retries.get((owner.key.dag_id, owner.key.task_id), 0)
    if rules.retry_lost and owner.try_number <= min(retries, owner.max_tries):
        deed = "retry_task"
    return Finding(
        check="PodVanished",
        deed=deed,
        message=f"pod {gone.name} is gone, and its task {owner.key} is still {owner.state}",
        age=world.moment - gone.since,
        grace=rules.lost,
    )
