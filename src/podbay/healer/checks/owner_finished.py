"""A pod that outlived its task: success, failed, skipped, removed, or cleared (spec 23). Pure."""

from __future__ import annotations

from podbay.healer.facts import Case, Finding
from podbay.healer.world import TaskInstance

__all__ = ["check"]


def check(case: Case) -> Finding | None:
    pod, rules = case.pod, case.rules
    if not pod.owners or pod.view.deleted_at is not None:
        return None
    if any(owner.is_active or owner.try_number < pod.try_number for owner in pod.owners):
        # A task instance of an earlier try than the pod's: this answer is older than the pod.
        return None
    states = sorted({owner.state or "cleared" for owner in pod.owners})
    is_cleared = any(owner.state is None for owner in pod.owners)
    grace = rules.finished if pod.is_live else rules.ended
    return Finding(
        check="OwnerCleared" if is_cleared else "OwnerFinished",
        deed="delete",
        message=f"task {pod.owners[0].key} is {' or '.join(states)} and its pod is still here",
        age=None if is_cleared else _age(case, pod.owners),
        grace=max(grace, rules.cleared) if is_cleared else grace,
    )


def _age(case: Case, owners: tuple[TaskInstance, ...]) -> float | None:
    """Seconds since the last of them ended, by Airflow's clock; None where Airflow says no time (removed tasks)."""
    ended = [owner.ended_at for owner in owners]
    if any(each is None for each in ended):
        return None
    return min((case.world.airflow.now - each).total_seconds() for each in ended if each is not None)
