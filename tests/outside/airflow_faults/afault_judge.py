"""Whether what Airflow says agrees with what the cluster saw: states, tries, pods, results, and every line of the logs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from afault_chaos import Done
from afault_work import SKIP_CODE, Work
from fault_judge import Seen

__all__ = ["Told", "judge", "log_events"]

PREFIX = "[base] "
NOTICE = "[base] [podbay] "
"""What the follower of the log says in the log itself, of lines that nobody can read any more."""


@dataclass
class Told:
    """What Airflow says of a task instance."""

    work: Work
    state: str
    tries: int
    states: Mapping[int, str]
    """Of each try."""
    result: Any
    events: Mapping[int, Sequence[str]]
    """Lines of the log of each try, all its files together, in order of time."""
    doubled: int = 0
    """Lines that are there a second time, because a triggerer was killed after it had written them."""
    lines: int = 0
    problems: list[str] = field(default_factory=list)


def log_events(files: Sequence[Path]) -> list[str]:
    """The lines of a try's log files."""
    found: list[tuple[str, int, str]] = []
    for file in files:
        for line in file.read_bytes().splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                # The writer was killed in the middle of it; the next life writes the line again.
                continue
            for text in str(event.get("event", "")).split("\n"):
                found.append((str(event.get("timestamp", "")), len(found), text))
    return [text for _, _, text in sorted(found)]


def judge(told: Told, pods: Sequence[Seen], done: Done) -> list[str]:
    """Everything that is wrong with it."""
    wrong = told.problems
    work = told.work
    if told.state not in ("success", "failed", "skipped"):
        wrong.append(f"it has not ended: {told.state}")
        return wrong
    hit = {number for (key, number), _ in done.hits.items() if key == work.key}
    touched = bool(hit) or any(pod.uid in done.deleted for pod in pods)
    if not touched:
        if (told.state, told.tries) != work.natural:
            wrong.append(f"{told.state} in try {told.tries} instead of {work.natural}")
        if len(pods) != told.tries:
            wrong.append(f"{len(pods)} pods in {told.tries} tries")
    if told.tries > work.retries + 1:
        wrong.append(f"{told.tries} tries, {work.retries} retries are allowed")
    if told.state == "failed" and told.tries != work.retries + 1:
        wrong.append(f"given up in try {told.tries} of {work.retries + 1}")
    for number in range(1, told.tries + 1):
        _judge_try(told, number, pods, done, hit=number in hit)
    if told.state == "success" and told.result != work.result:
        wrong.append(f"result {str(told.result)[:80]} instead of {str(work.result)[:80]}")
    _no_duplicates(wrong, pods)
    return wrong


def _judge_try(told: Told, number: int, pods: Sequence[Seen], done: Done, *, hit: bool) -> None:
    """One try: its state follows from its pod's end, its log has all its pod's lines."""
    work, wrong, state = told.work, told.problems, told.states.get(number, "none")
    pod = _pod_of(number, pods)
    if pod is None:
        if not hit:
            wrong.append(f"try {number}: {state} without a pod")
        return
    code = work.code(pod.try_number)
    deleted = pod.uid in done.deleted
    own = "success" if code == 0 else "skipped" if code == SKIP_CODE else "failed"
    allowed = {own} if pod.ended_with(code) and not pod.deletion_before_end else set()
    if hit or deleted:
        allowed.add("failed")
    if state not in allowed:
        wrong.append(f"try {number}: {state} instead of {sorted(allowed)}")
    events = told.events.get(number, ())
    notices = [text for text in events if text.startswith(NOTICE)]
    lines = [text.removeprefix(PREFIX) for text in events if text.startswith(PREFIX) and text not in notices]
    if notices and not hit and not deleted:
        wrong.append(f"try {number}: {notices}")
    position, doubled = _follow(lines, work.expected(pod.try_number), most=len(done.triggerers))
    told.doubled += doubled
    told.lines += len(lines)
    if position < 0:
        wrong.append(f"try {number}: {_difference(lines, work.expected(pod.try_number))}")
    elif position < len(work.expected(pod.try_number)) and not hit and not deleted:
        wrong.append(f"try {number}: {position} lines of {len(work.expected(pod.try_number))}")


def _pod_of(number: int, pods: Sequence[Seen]) -> Seen | None:
    """The pod of the try, or that of an earlier one which it has taken over."""
    known = [pod for pod in pods if pod.try_number <= number]
    return max(known, key=lambda pod: (pod.try_number, pod.incarnation), default=None)


def _follow(found: Sequence[str], wanted: Sequence[str], *, most: int) -> tuple[int, int]:
    """How far the lines come, and how many are repeated; -1 when one is missing, foreign or out of order.

    Each of at most `most` killed triggerers may have its last lines repeated by the next one.
    """
    places = {text: place for place, text in enumerate(wanted)}
    position = farthest = doubled = restarts = 0
    for text in found:
        place = places.get(text, -1)
        if place < 0 or place > position:
            return -1, doubled
        if place < position:
            restarts += 1
            doubled += position - place
        position = place + 1
        farthest = max(farthest, position)
    return (-1 if restarts > most else farthest), doubled


def _difference(found: Sequence[str], wanted: Sequence[str]) -> str:
    missing = [text for text in wanted if text not in found]
    foreign = [text for text in found if text not in wanted]
    return (
        f"{len(found)} lines of {len(wanted)}: missing {missing[:5]} ({len(missing)}), "
        f"foreign {foreign[:5]} ({len(foreign)}), in order {list(found)[:200]}"
    )


def _no_duplicates(wrong: list[str], pods: Sequence[Seen]) -> None:
    """At most one pod at a time, and one that ran for each try."""
    ran = sorted((pod for pod in pods if pod.began), key=lambda pod: (pod.try_number, pod.incarnation))
    numbers = [pod.try_number for pod in ran]
    if len(set(numbers)) != len(numbers):
        wrong.append(f"several pods ran in one try: {numbers}")
    for earlier, later in itertools.pairwise(ran):
        if earlier.end is None or later.end is None:
            continue
        ended, began = _stamp(earlier.end, "finishedAt"), _stamp(later.end, "startedAt")
        if began < ended:
            wrong.append(f"pods of tries {earlier.try_number} and {later.try_number} ran at once")


def _stamp(end: Mapping[str, Any], name: str) -> float:
    return datetime.fromisoformat(str(end[name])).timestamp()
