"""What really happened, for the judge of the healer's chaos: pods by a watch of its own, task instances out of Airflow's
database, and which nodes were away. Shares no code with the healer."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fault_judge import Recorder

from podbay.testing.requests import Requests

__all__ = ["Away", "Life", "PodRecorder", "Sample", "Timeline"]

LOOK_SECONDS = 0.5


@dataclass
class Life:
    """One pod, as it was seen last."""

    pod: Mapping[str, Any]
    began: float = 0.0
    """When its containers were first seen running; 0: never. All times are seconds since the epoch."""
    asked: float = 0.0
    """When its deletion was first seen."""
    gone: float = 0.0

    @property
    def key(self) -> tuple[str, str, str]:
        labels = self.pod["metadata"].get("labels") or {}
        return labels.get("dag_id", ""), labels.get("run_id", ""), labels.get("task_id", "")

    @property
    def order(self) -> tuple[int, int]:
        """Of try and incarnation."""
        metadata = self.pod["metadata"]
        labels, marks = metadata.get("labels") or {}, metadata.get("annotations") or {}
        return int(labels.get("try_number", 0)), int(marks.get("podbay.dev/incarnation", 0))

    @property
    def node(self) -> str:
        return str(self.pod["spec"].get("nodeName") or "")

    def lived_at(self, moment: float) -> bool:
        return not self.gone or self.gone > moment


class PodRecorder(Recorder):
    """Keeps every pod of the namespace in mind."""

    def __init__(self, requests: Requests, namespace: str) -> None:
        self.lives: dict[str, Life] = {}
        super().__init__(requests, namespace)

    def _take(self, pod: Mapping[str, Any], *, gone: bool) -> None:
        now = time.time()
        life = self.lives.setdefault(pod["metadata"]["uid"], Life(pod))
        life.pod = pod
        if (pod.get("status") or {}).get("phase") == "Running":
            life.began = life.began or now
        if pod["metadata"].get("deletionTimestamp") or gone:
            life.asked = life.asked or now
        if gone:
            life.gone = life.gone or now


@dataclass(frozen=True)
class Sample:
    """A task instance between two looks; state "absent": there is none."""

    at: float
    state: str | None
    try_number: int


@dataclass
class Timeline:
    """Looks into Airflow's database until it is closed; remembers each change of each task instance."""

    database: Path
    changes: dict[tuple[str, str, str], list[Sample]] = field(default_factory=lambda: defaultdict(list))
    looks: int = 0

    def __post_init__(self) -> None:
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join(timeout=30)

    def now(self, key: tuple[str, str, str]) -> Sample | None:
        found = self.changes.get(key)
        return found[-1] if found else None

    def around(self, key: tuple[str, str, str], moment: float, *, seconds: float) -> list[Sample]:
        """What it was from so long before that moment until so long after it."""
        found = self.changes.get(key) or []
        inside = [each for each in found if moment - seconds < each.at <= moment + seconds]
        before = [each for each in found if each.at <= moment - seconds]
        return before[-1:] + inside

    def _run(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            with contextlib.suppress(sqlite3.Error):
                self._look()

    def _look(self) -> None:
        query = "SELECT dag_id, run_id, task_id, state, try_number FROM task_instance"
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30)) as db:
            rows = db.execute(query).fetchall()
        now = time.time()
        found = {(dag, run, task): (state, number) for dag, run, task, state, number in rows}
        for key in self.changes.keys() - found.keys():
            found[key] = ("absent", 0)
        for key, (state, number) in found.items():
            known = self.changes[key]
            if not known or (known[-1].state, known[-1].try_number) != (state, number):
                known.append(Sample(now, state, number))
        self.looks += 1


@dataclass
class Away:
    """When nodes were not in the cluster."""

    times: list[tuple[str, float, float]] = field(default_factory=list)

    def left(self, node: str) -> None:
        self.times.append((node, time.time(), float("inf")))

    def returned(self, node: str) -> None:
        self.times = [
            (name, since, time.time() if name == node and until == float("inf") else until)
            for name, since, until in self.times
        ]

    def was_away(self, node: str, moment: float, *, before: float = 0.0) -> bool:
        """At that moment, or within so many seconds before it."""
        return any(
            name == node and since <= moment and until >= moment - before for name, since, until in self.times
        )
