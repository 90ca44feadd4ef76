"""The main container has ended and another one goes on. Pure.

Its task may be reading the result from that other one, so it is reported; once the task has ended, the pod goes anyway.
"""

from __future__ import annotations

from podbay.healer.facts import Case, Finding
from podbay.lifecycle.view import parse_time

__all__ = ["check"]


def check(case: Case) -> Finding | None:
    pod, main = case.pod, case.pod.view.main
    if not pod.is_live or main is None or main.state != "terminated":
        return None
    if (pod.pod.get("spec") or {}).get("restartPolicy") != "Never":
        return None
    running = [
        str(each.get("name"))
        for each in (pod.pod.get("status") or {}).get("containerStatuses") or ()
        if (each.get("state") or {}).get("running") is not None
    ]
    ended = parse_time(main.finished_at)
    if not running or ended is None:
        return None
    return Finding(
        check="HungSidecar",
        deed="report",
        message=f"container {main.name} has ended with {main.exit_code}, and {', '.join(running)} still run",
        age=(case.pod.cluster.now - ended).total_seconds(),
        grace=case.rules.sidecar,
    )
