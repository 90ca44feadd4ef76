"""The pod of an older try beside that of the try that Airflow is at. Pure.

Alone it is not wrong: a later try takes over the pod of an earlier one and makes none of its own (spec 22, 24).
"""

from __future__ import annotations

from podbay.healer.facts import Case, Finding

__all__ = ["check"]


def check(case: Case) -> Finding | None:
    pod, owner = case.pod, case.owner
    if pod.claim != "ours" or owner is None or not owner.is_active or not pod.is_live:
        return None
    newer = [
        other
        for other in case.siblings
        if other.claim == "ours" and other.is_live and pod.try_number < other.try_number == owner.try_number
    ]
    if not newer:
        return None
    return Finding(
        check="OlderTry",
        deed="delete",
        message=f"try {pod.try_number} of task {owner.key} was replaced: "
        f"pod {newer[0].view.name} runs try {owner.try_number}",
        age=min(other.age for other in newer),
        grace=case.rules.superseded,
    )
