"""Whether the healer was right: each of its deeds against what Airflow and the cluster really were at that moment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hchaos_seen import Away, Life, Sample, Timeline
from hchaos_work import Work

__all__ = [
    "Deed",
    "Evidence",
    "deeds_of",
    "judge_deed",
    "judge_logged",
    "judge_orphans",
    "judge_tasks",
    "logged",
]

OVER = ("success", "failed", "skipped", "upstream_failed", "removed", "absent")
WINDOW = 6.0
"""Seconds around a deletion in which the judge's looks at the database may be late."""
NODE_GONE = 90.0
"""So long after a node was taken away the cluster itself may end its pods."""


@dataclass(frozen=True)
class Deed:
    """A row of the healer's history."""

    uid: str
    pod: str
    check: str
    action: str
    message: str
    at: float

    @property
    def is_done(self) -> bool:
        return "Not done:" not in self.message


@dataclass(frozen=True)
class Evidence:
    """What the judge has seen."""

    lives: Mapping[str, Life]
    timeline: Timeline
    away: Away
    buried_at: float
    """Since when nobody but the healer can have ended the pods of the orphans."""


def deeds_of(events: Sequence[Mapping[str, Any]]) -> list[Deed]:
    """Of the Events that the healer has written."""
    return [
        Deed(
            uid=event["involvedObject"]["uid"],
            pod=event["involvedObject"]["name"],
            check=event["reason"],
            action=event["action"],
            message=event["message"],
            at=datetime.fromisoformat(event["lastTimestamp"]).timestamp(),
        )
        for event in events
    ]


def judge_deed(deed: Deed, evidence: Evidence) -> str:
    """What is wrong with a deletion; "" when nothing is."""
    life = evidence.lives.get(deed.uid)
    if life is None:
        return f"{deed}: a pod that nobody has seen"
    if not deed.message:
        return f"{deed}: it does not say why"
    if not deed.is_done:
        return ""
    if not life.asked:
        return f"{deed}: the pod was never asked to end"
    if deed.action == "ForceDelete":
        moment = life.gone or deed.at
        gone = evidence.away.was_away(life.node, moment, before=WINDOW)
        return "" if gone else f"{deed}: node {life.node} was there; {evidence.away.times}"
    around = evidence.timeline.around(life.key, life.asked, seconds=WINDOW)
    if deed.check in ("OlderTry", "DuplicatePod"):
        later = [
            other
            for uid, other in evidence.lives.items()
            if uid != deed.uid
            and other.key == life.key
            and other.order > life.order
            and other.lived_at(life.asked)
        ]
        return "" if later else f"{deed}: no later pod of {life.key} was there"
    wanted = {
        "OwnerFinished": lambda each: each.state in OVER,
        "OwnerCleared": lambda each: each.state is None or each.state in OVER,
        "NoOwner": lambda each: each.state == "absent",
    }.get(deed.check)
    if wanted is None:
        return f"{deed}: no reason to delete"
    if any(wanted(each) for each in around):
        return ""
    return f"{deed}: its task was {around}"


def logged(log: Path) -> list[dict[str, Any]]:
    """What any healer says it has done, in its own log."""
    found = []
    for line in log.read_text().splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            # Killed in the middle of it.
            continue
        found += [told] if told["result"] == "done" else []
    return found


def judge_logged(log: Path, deeds: Sequence[Deed]) -> list[str]:
    """What any healer says it has done is in the history."""
    known = {(deed.uid, deed.check, deed.is_done) for deed in deeds}
    return [
        f"in the log and not in the history: {found}"
        for found in logged(log)
        if (found["uid"], found["check"], True) not in known
    ]


def judge_orphans(work: Sequence[Work], deeds: Sequence[Deed], evidence: Evidence) -> list[str]:
    """Pods whose task nobody looked after any more: it was the healer that ended them, and it says so."""
    told = {deed.uid for deed in deeds if deed.is_done and deed.action != "Report"}
    orphans = {each.key for each in work if each.place in ("marked", "removed")}
    return [
        f"orphan {life.pod['metadata']['name']} of {life.key} ended without a word of the healer"
        for uid, life in evidence.lives.items()
        if life.key in orphans
        and life.began
        and not 0 < life.asked < evidence.buried_at
        and uid not in told
        and not evidence.away.was_away(life.node, life.asked, before=NODE_GONE)
    ]


def judge_tasks(work: Sequence[Work], timeline: Timeline) -> list[str]:
    """Every task has ended as it must, whatever happened."""
    wrong = []
    for each in work:
        now: Sample | None = timeline.now(each.key)
        state = now.state if now is not None else "never seen"
        wanted = "absent" if each.place == "removed" else each.wanted
        if state != wanted:
            history = [(sample.state, sample.try_number) for sample in timeline.changes.get(each.key) or ()]
            wrong.append(f"{each}: {state} instead of {wanted}; {history}")
    return wrong
