"""Two pods for one try. Pure.

Ours have a name for each (try, incarnation), so two are one that the infrastructure lost and came back, and its
replacement: the earlier goes. Of the upstream operator's, nobody can tell which one is looked at: reported only.
"""

from __future__ import annotations

from podbay.healer.facts import Case, Finding, PodFacts

__all__ = ["check"]


def check(case: Case) -> Finding | None:
    pod = case.pod
    if not pod.is_live:
        return None
    same = [
        other
        for other in case.siblings
        if other.is_live and other.claim == pod.claim and other.try_number == pod.try_number
    ]
    if pod.claim == "ours":
        return _ours(case, same)
    if pod.claim != "upstream" or not same:
        return None
    names = ", ".join(sorted(other.view.name for other in same))
    return Finding(
        check="DuplicatePod",
        deed="report",
        message=f"the same try has other pods: {names}; end the ones that its task log does not name",
        age=min(pod.age, *(other.age for other in same)),
        grace=case.rules.superseded,
    )


def _ours(case: Case, same: list[PodFacts]) -> Finding | None:
    own = case.pod.identity
    owner = case.owner
    if own is None or owner is None or not owner.is_active or owner.try_number != own.try_number:
        return None
    later = [other for other in same if other.identity and other.identity.incarnation > own.incarnation]
    if not later:
        return None
    return Finding(
        check="DuplicatePod",
        deed="delete",
        message=f"pod {later[0].view.name} has replaced it within try {own.try_number} of task {owner.key}",
        age=min(other.age for other in later),
        grace=case.rules.superseded,
    )
