"""A pod whose task instance Airflow does not have: its DAG, its run or itself was deleted (spec 23 iv). Pure."""

from __future__ import annotations

from podbay.healer.facts import Case, Finding

__all__ = ["check"]


def check(case: Case) -> Finding | None:
    pod = case.pod
    if not (pod.known and pod.absent) or pod.view.deleted_at is not None:
        return None
    exact = pod.identity is not None
    whose = "its task instance" if exact else "a task instance with its labels"
    return Finding(
        check="NoOwner",
        deed="delete",
        message=f"Airflow does not have {whose}; the DAG, the run or the task was deleted",
        # Of labels, only a list can say that nobody has them, and a list is believed when it says so for a while.
        age=pod.age if exact else None,
        grace=case.rules.absent if pod.is_live else case.rules.ended,
    )
