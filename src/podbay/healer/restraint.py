"""How much may be done at once (spec 23): a budget for each minute, and a full stop where it looks like a mistake. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

from podbay.healer.facts import Deed
from podbay.healer.matching import LabelsKey
from podbay.healer.rules import Rules
from podbay.healer.world import TaskInstance, TaskKey, World

__all__ = ["Action", "Unowned", "rest_of", "restrain"]

_MINUTE: Final = 60.0
Kind: TypeAlias = Literal["Pod", "Secret"]


@dataclass(frozen=True, slots=True)
class Unowned:
    """No task instance has such labels: so it was."""

    labels: LabelsKey
    since: datetime
    """By Airflow's clock: what was changed earlier is in the answer that says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing to do, about one pod, or about a Secret that was made for one."""

    deed: Deed
    check: str
    message: str
    namespace: str
    name: str
    uid: str
    version: str = ""
    """resourceVersion of the pod that was judged: it is ended as this, or not at all."""
    is_live: bool = False
    """It runs or will run."""
    cluster: str = ""
    """In which of several."""
    kind: Kind = "Pod"
    must_be_gone: tuple[str, str] | None = None
    """Name and uid of a pod that must not be there when it is done."""
    expected: tuple[tuple[TaskKey, TaskInstance | None], ...] = ()
    """What Airflow must still say right before it is done; None: that there is no such task instance."""
    unowned: Unowned | None = None
    """What must be so, besides, right before it is done."""


def restrain(actions: Sequence[Action], world: World, rules: Rules, *, live: int) -> tuple[list[Action], str]:
    """The actions that may be taken now, and why others may not; live: pods that run or will, and are surely ours."""
    reports = [each for each in actions if each.deed == "report"]
    deeds = [each for each in actions if each.deed != "report"]
    deletes = sum(each.deed == "delete" and each.is_live for each in deeds)
    most = max(rules.stop_floor, int(rules.stop_share * live))
    if deletes > most:
        return reports, (
            f"full stop: {deletes} of {live} live pods would be deleted, {most} may be. "
            "If that is right, end them with podbay kill, or give more: --stop-share"
        )
    deeds = _in_turn([each for each in deeds if rest_of(each, world) <= 0], world)
    spent = sum(at > world.moment - _MINUTE for at in world.acted)
    left = max(0, rules.per_minute - spent)
    if len(deeds) > left:
        told = f"{len(deeds) - left} actions wait for the next minute ({rules.per_minute} a minute)"
        return reports + deeds[:left], told
    return reports + deeds, ""


def rest_of(action: Action, world: World) -> float:
    """Seconds until it is tried again, after it has failed; not above 0 when it may be tried now."""
    return (
        world.failed.get((action.uid, action.check), 0.0) - world.moment
        if _has_failed(action, world)
        else 0.0
    )


def _has_failed(action: Action, world: World) -> bool:
    return action.deed != "report" and (action.uid, action.check) in world.failed


def _in_turn(deeds: Sequence[Action], world: World) -> list[Action]:
    """One of each cluster in turn, and what has failed before last: what always fails takes no budget from the rest."""
    turns: Counter[tuple[bool, str]] = Counter()
    placed: list[tuple[bool, int, Action]] = []
    for each in deeds:
        has_failed = _has_failed(each, world)
        placed.append((has_failed, turns[has_failed, each.cluster], each))
        turns[has_failed, each.cluster] += 1
    return [each for _, _, each in sorted(placed, key=lambda place: place[:2])]
