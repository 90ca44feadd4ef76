"""A pod that does not start, and what it waits for. Pure. Its task's own deadlines decide when that is over (design D13)."""

from __future__ import annotations

from typing import Final

from podbay.healer.facts import Case, Finding

__all__ = ["check"]

_CAUSES: Final = {
    "queued": "a scheduling gate holds it",
    "scheduling": "no scheduler has looked at it",
    "unschedulable": "no node has room for it or fits",
    "pulling": "an image does not come",
    "initializing": "an init container does not end",
    "starting": "its containers are not made",
}


def check(case: Case) -> Finding | None:
    pod = case.pod
    cause = _CAUSES.get(pod.view.stage)
    if cause is None or not pod.is_live or pod.view.phase == "Unknown":
        return None
    said = f": {pod.view.waiting_for}" if pod.view.waiting_for else ""
    return Finding(
        check="StuckPending",
        deed="report",
        message=f"{cause}{said}. More: podbay explain {pod.view.namespace}/{pod.view.name}",
        age=pod.age,
        grace=case.rules.pending,
    )
