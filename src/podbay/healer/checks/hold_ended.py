"""An ended pod that the engine has left for inspection, and whose time is over. Pure.

The run was over when the hold began, so nobody wants the pod any more, whatever its task does now.
"""

from __future__ import annotations

from podbay.healer.facts import Case, Finding, was_left_for_a_while
from podbay.lifecycle.hold import HELD_SINCE, HELD_UNTIL
from podbay.lifecycle.view import parse_time
from podbay.objects.meta import annotations_of

__all__ = ["check"]


def check(case: Case) -> Finding | None:
    pod = case.pod
    if not was_left_for_a_while(pod.pod) or pod.view.deleted_at is not None:
        return None
    marks = annotations_of(pod.pod)
    since = marks[HELD_SINCE]
    until = marks.get(HELD_UNTIL)
    over = parse_time(since if until is None else until)
    return Finding(
        check="HoldEnded",
        deed="delete",
        message=f"it had ended and was held from {since} until {until or 'it was released'}",
        age=None if over is None else max(0.0, (case.pod.cluster.now - over).total_seconds()),
        grace=0.0,
    )
