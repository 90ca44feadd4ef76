"""What really happened to the fault suite's pods, from a watch of its own, and whether outcomes agree with it.

The watch shares no code with the client under test, is hit by no fault, and goes on from its last version after every
break, so that no state of any pod escapes it.
"""

from __future__ import annotations

import http.client
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fault_work import Mishap, Task

from podbay.lifecycle.engine import PodRun
from podbay.lifecycle.outcome import Kind, Outcome
from podbay.testing.requests import Requests

KINDS: Mapping[Mishap, set[Kind]] = {
    "": set(),
    "kill": {"killed"},
    # node_lost: the server was away for longer than a node may take to end a pod.
    "delete": {"deleted", "node_lost"},
    "evict": {"evicted"},
    "preempt": {"preempted", "node_lost"},
    "eviction API": {"evicted", "node_lost"},
}


@dataclass
class Seen:
    """One pod as it really was."""

    uid: str
    name: str
    task: str
    incarnation: int
    try_number: int = 1
    map_index: int = -1
    began: bool = False
    end: Mapping[str, Any] | None = None
    """state.terminated of the main container."""
    reason: str = ""
    deletion: str = ""
    """deletionTimestamp less the grace period is when it was asked for; this is the former."""
    grace: float = 0.0
    deletion_before_end: bool = False
    gone: bool = False
    states: list[str] = field(default_factory=list)
    """What was seen of it and when, for whoever reads a complaint."""
    end_told_at: float = -math.inf
    """When the server first told of the main container's end: a lost node is silent for a while."""
    gone_at: float = math.inf
    """By the judge's clock, as are the ends of the engine's lives."""

    def ended_with(self, code: int) -> bool:
        """By itself: with its own code, and not because the node or a deletion ended it."""
        return self.end is not None and self.end["exitCode"] == code and self.reason != "Evicted"

    @property
    def margin(self) -> float:
        """Seconds from the main container's end to the moment somebody asked for the pod's; huge if nobody did."""
        if self.end is None or not self.deletion:
            return 1e9
        asked = datetime.fromisoformat(self.deletion).timestamp() - self.grace
        return asked - datetime.fromisoformat(str(self.end["finishedAt"])).timestamp()


class Recorder:
    """Watches a namespace in a thread until it is closed."""

    def __init__(self, requests: Requests, namespace: str) -> None:
        self.pods: dict[str, Seen] = {}
        self.history_lost = False
        self._requests = requests
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        self._version = ""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join(timeout=30)

    def version_reached(self, version: str) -> bool:
        return self._version.isdecimal() and int(self._version) >= int(version)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                if not self._version:
                    code, answer = self._requests.call("GET", self._path)
                    if code == 200:
                        self._version = answer["metadata"]["resourceVersion"]
                else:
                    self._watch()
            except (OSError, http.client.HTTPException, ValueError):
                pass
            time.sleep(0.1)

    def _watch(self) -> None:
        connection = self._requests._open(self._requests._tls)
        try:
            headers = {"Authorization": f"Bearer {self._requests._token}"} if self._requests._token else {}
            query = f"watch=1&allowWatchBookmarks=true&timeoutSeconds=15&resourceVersion={self._version}"
            connection.request("GET", f"{self._path}?{query}", headers=headers)
            response = connection.getresponse()
            if response.status == 410:
                self.history_lost, self._version = True, ""
            if response.status != 200:
                return
            while (line := response.readline()).endswith(b"\n") and not self._closed.is_set():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    self.history_lost, self._version = True, ""
                    return
                if event["type"] != "BOOKMARK":
                    self._take(event["object"], gone=event["type"] == "DELETED")
                self._version = event["object"]["metadata"]["resourceVersion"]
        finally:
            connection.close()

    def _take(self, pod: Mapping[str, Any], *, gone: bool) -> None:
        metadata, status = pod["metadata"], pod.get("status") or {}
        marks = metadata.get("annotations") or {}
        seen = self.pods.setdefault(
            metadata["uid"],
            Seen(
                metadata["uid"],
                metadata["name"],
                marks.get("podbay.dev/task-id", ""),
                int(marks.get("podbay.dev/incarnation", 0)),
                int(marks.get("podbay.dev/try-number", 1)),
                int(marks.get("podbay.dev/map-index", -1)),
            ),
        )
        seen.gone = seen.gone or gone
        seen.gone_at = min(seen.gone_at, time.monotonic()) if gone else seen.gone_at
        seen.reason = str(status.get("reason") or seen.reason)
        if metadata.get("deletionTimestamp"):
            seen.deletion = metadata["deletionTimestamp"]
            seen.grace = float(metadata.get("deletionGracePeriodSeconds") or 0)
        target = [
            each["reason"] for each in status.get("conditions") or () if each["type"] == "DisruptionTarget"
        ]
        now = [next(iter(each.get("state") or {"none": 0})) for each in status.get("containerStatuses") or ()]
        seen.states.append(
            f"{datetime.now(UTC):%H:%M:%S.%f} {status.get('phase')} {now} {target} "
            f"{'deleted ' if seen.deletion else ''}{'gone' if gone else ''}"
        )
        statuses = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
        for each in statuses:
            state = each.get("state") or {}
            terminated = state.get("terminated")
            ran = terminated is not None and not terminated.get("startedAt", "1970").startswith("1970")
            seen.began = seen.began or "running" in state or ran
            if each["name"] == "base" and terminated is not None and seen.end is None:
                seen.end, seen.end_told_at = terminated, time.monotonic()
                seen.deletion_before_end = bool(metadata.get("deletionTimestamp"))


@dataclass
class Told:
    """What the engine told about a task."""

    task: Task
    outcome: Outcome | None = None
    lines: dict[str, list[str]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    outcomes_decided: list[Outcome] = field(default_factory=list)
    struck: bool = False
    """Its mishap was really set off."""
    lives: int = 1
    ends: list[str] = field(default_factory=list)
    """What each life of the engine knew at its end, for whoever reads a complaint."""
    saw: list[tuple[float, str, bool]] = field(default_factory=list)
    """Of each life: when it ended, the uid of its pod, whether it knew how that pod ends."""
    run: PodRun | None = None
    """The present life's."""

    def told_of(self) -> str:
        kind = self.outcome.kind if self.outcome is not None else "none"
        mishap = f"{self.task.mishap or 'nothing'} after {self.task.mishap_after:.1f} s ({self.struck})"
        return f"{kind}, {mishap}, {self.lives} lives {self.task.crashes}, runs {self.task.run_seconds} s"


def judge(told: Told, pods: Sequence[Seen]) -> list[str]:
    """Everything that is wrong with it."""
    task, outcome = told.task, told.outcome
    if outcome is None:
        return ["no outcome"]
    wrong = _duplicates(told, pods)
    last = next((pod for pod in pods if pod.uid == outcome.uid), None)
    if last is None:
        if not (outcome.kind == "killed" and task.mishap == "kill" and not pods):
            wrong.append(f"outcome {outcome.kind} of a pod that was never there")
        return wrong
    allowed = _allowed(told, last)
    if outcome.kind not in allowed:
        wrong.append(
            f"{outcome.kind} ({outcome.message}) instead of {sorted(allowed)}; mishap {task.mishap!r}, {last}"
        )
    if outcome.kind == "succeeded" and outcome.result != task.result:
        wrong.append(f"result {outcome.result!r:.60} instead of {task.result!r:.60}")
    if outcome.kind in ("succeeded", "failed") and outcome.exit_code != task.code:
        wrong.append(f"exit code {outcome.exit_code} instead of {task.code}")
    if any((each.kind, each.uid) != (outcome.kind, outcome.uid) for each in told.outcomes_decided):
        wrong.append(f"several outcomes: {[each.kind for each in told.outcomes_decided]}")
    return wrong + _lines(told, last, pods)


def _duplicates(told: Told, pods: Sequence[Seen]) -> list[str]:
    wrong = []
    ran = [pod for pod in pods if pod.began]
    if len(ran) > 1 and not told.task.idempotent:
        wrong.append(f"ran {len(ran)} times: {ran}")
    names = Counter(pod.name for pod in pods)
    if any(count > 1 for count in names.values()):
        wrong.append(f"several pods of one name: {names}")
    assert told.outcome is not None
    if pods and told.outcome.incarnations != len(names):
        wrong.append(f"{told.outcome.incarnations} incarnations told, {len(names)} there")
    return wrong


def _allowed(told: Told, last: Seen) -> set[Kind]:
    task = told.task
    own: Kind = "succeeded" if task.code == 0 else "failed"
    done = KINDS[task.mishap] if told.struck else set()
    if told.struck and task.mishap in ("preempt", "eviction API") and _nobody_looked(told, last):
        done = {*done, "deleted"}
    if not last.ended_with(task.code):
        return set(done)
    # It has ended by itself. What was done to it afterwards changes nothing, if the two can be told apart: stamps have
    # whole seconds, a kill is decided by what was known, and an engine that was not there may have nothing to look at.
    # A deletion that was seen before the end counts, whatever the stamps say, for a node's clock may be wrong.
    certain = (
        last.margin >= 2.0 and not last.deletion_before_end and task.mishap != "kill" and told.lives == 1
    )
    allowed = {own} if certain or not told.struck else {own, *done}
    return {*allowed, "result"} if _result_taken_away(told, last) else allowed


def _nobody_looked(told: Told, last: Seen) -> bool:
    """The life of the engine that made the pod ended before it had heard of the disruption, and the next found nothing."""
    lives = [life for life in told.saw[:-1] if life[1] in (last.uid, "")]
    if not lives or any(knew for _, _, knew in lives):
        return False
    return -1.0 < lives[-1][0] - last.gone_at < 10.0


def _result_taken_away(told: Told, last: Seen) -> bool:
    """A result too large for the status was removed with its pod, by others, at once, seconds after anybody could know of its end."""
    task = told.task
    large = task.transport == "sidecar" and task.result is not None and len(task.result) > 2500
    return (
        large and told.struck and task.code == 0 and last.grace == 0 and last.gone_at - last.end_told_at < 15
    )


def _lines(told: Told, last: Seen, pods: Sequence[Seen]) -> list[str]:
    task, wrong = told.task, []
    assert told.outcome is not None
    # Somebody who removes a pod that has just ended removes its log; that must be said and excuses nothing else.
    taken_away = told.struck and task.mishap in ("delete", "preempt", "eviction API") and bool(told.notices)
    whole = told.outcome.kind in ("succeeded", "failed") and not taken_away
    expected = {"base": task.expected, "prepare": task.init_lines}
    for name, wanted in expected.items():
        found = told.lines.get(name, [])
        if not whole:
            if not _is_prefixes(found, wanted, times=len(pods)):
                wrong.append(f"{name}: {len(found)} lines that are no beginning of {len(wanted)}")
        elif found[len(found) - len(wanted) :] != wanted:
            wrong.append(f"{name}: {_difference(found, wanted)}")
        elif not _is_prefixes(found[: len(found) - len(wanted)], wanted, times=len(pods) - 1):
            wrong.append(f"{name}: lines doubled: {_difference(found, wanted)}")
    if set(told.lines) - set(expected):
        wrong.append(f"lines of {set(told.lines) - set(expected)}")
    if told.notices and whole and len(pods) == 1:
        wrong.append(f"notices: {told.notices}")
    return wrong + _evicted_lines(told, last)


def _evicted_lines(told: Told, last: Seen) -> list[str]:
    """An evicted pod stays until its log has been read, so nothing may be missing of what was certainly written."""
    task, end = told.task, last.end
    if last.reason != "Evicted" or last.deletion_before_end or end is None or not last.began:
        return []
    ran = (
        datetime.fromisoformat(str(end["finishedAt"])) - datetime.fromisoformat(str(end["startedAt"]))
    ).total_seconds()
    written = len(task.expected) if not task.ticks else max(0, int((ran - 1.0) / 0.1))
    found = len(told.lines.get("base", []))
    missing = found < min(written, len(task.expected)) and told.outcome is not None
    return [f"evicted: {found} lines of at least {written}"] if missing and not told.notices else []


def _is_prefixes(found: Sequence[str], wanted: Sequence[str], *, times: int) -> bool:
    """found is a beginning of wanted, or several one after the other."""
    rest = list(found)
    for _ in range(times):
        length = 0
        while length < min(len(rest), len(wanted)) and rest[length] == wanted[length]:
            length += 1
        rest = rest[length:]
    return not rest


def _difference(found: Sequence[str], wanted: Sequence[str]) -> str:
    missing, more = Counter(wanted) - Counter(found), Counter(found) - Counter(wanted)
    return f"missing {list(missing)[:5]} ({missing.total()}), too many {list(more)[:5]} ({more.total()}) of {len(wanted)}"
