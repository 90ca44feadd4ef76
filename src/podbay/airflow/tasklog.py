"""What a task's log says: the containers' lines, what the pod waits for, how it ended.

A record costs the triggerer about 0.6 ms, for all its tasks together (airflow.md T9). So lines are records of their own as
long as the process has a budget for them; beyond it the lines that came together are one record.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from podbay.airflow.logrelay import LogRelay
from podbay.kube.logs import LogBatch
from podbay.kube.severity import severity_of
from podbay.lifecycle.outcome import Outcome
from podbay.objects.meta import Object
from podbay.pods.render import render
from podbay.pods.sidecar import SIDECAR_NAME

__all__ = ["Hearer", "RecordBudget", "TaskLog"]

RECORDS_PER_SECOND: Final = 300.0
"""About a fifth of what a triggerer can write (airflow.md T9)."""
BURST: Final = 300.0
PAUSE_SECONDS: Final = 0.2
"""After lines that were joined, so that the next record holds more of them; well below the promised 0.5 s."""
_RECORD_LINES: Final = 500
_RECORD_CHARACTERS: Final = 64 << 10
_MOST_LEVELS: Final = 8
_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
LEFT_OUT: Final = "(left out)"
_MARKERS: Final = ("::group::", "::endgroup::")

Write = Callable[[int, str], None]


class Hearer:
    """Hears of a pod's moments and lines; override what is wanted. `pod` is its last state known."""

    def created(self, pod: Object | None) -> None:
        """It exists."""

    def started(self, pod: Object | None) -> None:
        """Its main container runs."""

    def ended(self, pod: Object | None) -> None:
        """The outcome is known, the pod still there."""

    def cleaned(self, pod: Object | None) -> None:
        """It was deleted, or is kept."""

    def lines(self, batch: LogBatch, pod: Object | None) -> None:
        """A container wrote these."""


class RecordBudget:
    """Records that may be written one for each line; refills with time. `now` in seconds of any one clock."""

    def __init__(self, rate: float = RECORDS_PER_SECOND, burst: float = BURST) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = 0.0

    def take(self, count: int, now: float) -> bool:
        """Whether `count` records may be written; takes them if so."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if count > self._left:
            return False
        self._left -= count
        return True


class TaskLog:
    """One task's log. `write` takes a level of `logging` and a text."""

    def __init__(
        self,
        write: Write,
        *,
        prefix: bool = True,
        formatter: Callable[[str, str], str] | None = None,
        budget: RecordBudget | None = None,
        clock: Callable[[], float] = time.monotonic,
        relay: LogRelay | None = None,
    ) -> None:
        """relay: what passes on what is written, in a triggerer."""
        self._write = write
        self._relay = relay
        self._prefix = prefix
        self._formatter = formatter
        self._budget = budget
        self._clock = clock

    async def passed_on(self) -> None:
        """Wait until Airflow has all that was said. Raises TimeoutError."""
        if self._relay is not None:
            await self._relay.passed_on()

    def info(self, text: str) -> None:
        self._write(logging.INFO, text)

    def warning(self, text: str) -> None:
        self._write(logging.WARNING, text)

    def error(self, text: str) -> None:
        self._write(logging.ERROR, text)

    def group(self, title: str, lines: Iterable[str]) -> None:
        """A part of the log that the UI shows closed."""
        self._write(logging.INFO, f"::group::{title}")
        for text in _joined(list(lines)):
            self._write(logging.INFO, text)
        self._write(logging.INFO, "::endgroup::")

    async def lines(self, batch: LogBatch) -> None:
        """A container's lines, in order."""
        if self._relay is not None:
            await self._relay.room()
        lines = [(self._level(line.text), self._shown(batch.container, line.text)) for line in batch.lines]
        if self._budget is None or self._budget.take(len(lines), self._clock()):
            for level, text in lines:
                self._write(level, text)
            return
        for level, text in _records(lines):
            self._write(level, text)
        await asyncio.sleep(PAUSE_SECONDS)

    def _level(self, text: str) -> int:
        found = severity_of(text)
        return _LEVELS[found] if found is not None else logging.INFO

    def _shown(self, container: str, text: str) -> str:
        # A container's own groups fold in the UI as those of a Python task do.
        if text.startswith(_MARKERS):
            return text
        if self._formatter is not None:
            return self._formatter(container, text)
        return f"[{container}] {text}" if self._prefix else text

    def manifest(self, pod: Object, *, encoded: str = "") -> None:
        """Without what nobody is to see. `encoded`: the container whose arguments hide theirs from Airflow's masker."""
        self.group("Pod manifest", render(_shown(pod, encoded)).splitlines())

    def failure(self, outcome: Outcome, message: str) -> None:
        """The one sentence, and what it follows from."""
        evidence = outcome.diagnosis.evidence if outcome.diagnosis is not None else ()
        self.error("\n".join([message, *(f"  {line}" for line in evidence)]))


def _shown(pod: Object, encoded: str) -> Object:
    """Without values of variables, of which no word list knows the secret ones, and without scripts: of the result sidecar,
    and of functions that travel as arguments."""
    shown = copy.deepcopy(pod)
    for part in ("initContainers", "containers"):
        for container in shown["spec"].get(part) or ():
            for variable in container.get("env") or ():
                if variable.get("value"):
                    variable["value"] = LEFT_OUT
            for name in ("command", "args"):
                if container.get(name):
                    limit = _word_limit(container["name"], name, encoded)
                    container[name] = [_short(word, limit) for word in container[name]]
    return shown


def _word_limit(container: str, field: str, encoded: str) -> int:
    if container == encoded and field == "args":
        return 0
    return 80 if container == SIDECAR_NAME else 2000


def _short(word: str, limit: int) -> str:
    return word if len(word) <= limit else f"({len(word)} characters)"


def _records(lines: Sequence[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Neighbouring lines of one level as one record; all as one level if that changes all the time."""
    runs: list[tuple[int, list[str]]] = []
    for level, text in lines:
        if not runs or runs[-1][0] != level:
            runs.append((level, []))
        runs[-1][1].append(text)
    if len(runs) > _MOST_LEVELS:
        runs = [(logging.INFO, [text for _, text in lines])]
    for level, texts in runs:
        for text in _joined(texts):
            yield level, text


def _joined(lines: Sequence[str]) -> Iterator[str]:
    part: list[str] = []
    size = 0
    for line in lines:
        if part and (len(part) >= _RECORD_LINES or size + len(line) > _RECORD_CHARACTERS):
            yield "\n".join(part)
            part, size = [], 0
        part.append(line)
        size += len(line) + 1
    if part:
        yield "\n".join(part)
