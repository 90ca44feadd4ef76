"""Labels or annotations by which pods and tasks find each other were stripped or changed (spec 18): reported, never ended.

Pure. Who changes them is outside of Airflow: a mutation hook, a webhook, a person.
"""

from __future__ import annotations

from podbay.healer.facts import Case, Finding
from podbay.healer.matching import label_differences
from podbay.objects.meta import name_of

__all__ = ["check"]


def check(case: Case) -> Finding | None:
    pod = case.pod
    if pod.claim != "damaged":
        return None
    if pod.identity is None:
        what = "labels or annotations that name its task are missing or cannot be read"
    elif changed := label_differences(pod.pod, pod.identity):
        what = f"labels differ from its task's: {', '.join(changed)}"
    elif not name_of(pod.pod).endswith(pod.identity.digest()):
        what = "its name is not its identity's: a copy, or a pod with a name of its own"
    else:
        return None
    return Finding(
        check="LabelsChanged",
        deed="report",
        message=f"{what}; it is left alone, and nothing finds it when its task ends",
        age=pod.age,
        grace=0.0,
    )
