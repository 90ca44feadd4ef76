"""A deferred task whose trigger Airflow does not have: nothing waits for its pod any more. Pure."""

from __future__ import annotations

from podbay.healer.facts import Case, Finding

__all__ = ["check"]


def check(case: Case) -> Finding | None:
    owner = case.owner
    if owner is None or owner.state != "deferred" or owner.has_trigger:
        return None
    return Finding(
        check="TriggerGone",
        deed="report",
        message=f"task {owner.key} is deferred and has no trigger; clear it, so that its next try takes the pod over",
        age=None,
        grace=case.rules.trigger,
    )
