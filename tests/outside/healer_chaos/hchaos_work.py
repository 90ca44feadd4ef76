"""The tasks of the healer's chaos: of which operator, where they run, how long, and what becomes of them. Pure, by seed."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

__all__ = [
    "DEPLOYMENT",
    "NAMESPACE",
    "REMOVED",
    "RUN_ID",
    "Operator",
    "Place",
    "Work",
    "make_work",
    "specification",
]

DEPLOYMENT = "chaos"
NAMESPACE = "healer-chaos"
RUN_ID = "main"
REMOVED = "removed"
"""The run of those tasks that are deleted with it."""
FOREVER = 7200.0
"""Seconds that the pod of an orphan would run on: nobody but the healer ends it in time."""

Operator = Literal["ours", "upstream"]
Place = Literal["deferred", "worker", "doomed", "marked", "removed"]
"""deferred, worker: where it runs, and it must succeed whatever happens. The others lose whoever looks after their pod:
doomed: its worker is killed, and there is no other try; marked: somebody marks it failed, removed: somebody deletes its
run, both while the triggerer is dead."""


@dataclass(frozen=True)
class Work:
    """One task."""

    task_id: str
    operator: Operator
    place: Place
    run_seconds: float

    @property
    def dag_id(self) -> str:
        return f"{self.operator}_removed" if self.place == "removed" else self.operator

    @property
    def run_id(self) -> str:
        return REMOVED if self.place == "removed" else RUN_ID

    @property
    def key(self) -> tuple[str, str, str]:
        return self.dag_id, self.run_id, self.task_id

    @property
    def wanted(self) -> str:
        """The state it must end in."""
        return "success" if self.place in ("deferred", "worker") else "failed"


def make_work(count: int, rng: random.Random, *, longest: float) -> list[Work]:
    """Tasks of both operators; some of each fate."""
    fates: list[tuple[Operator, Place]] = [
        (operator, place) for operator in ("ours", "upstream") for place in ("doomed", "marked", "removed")
    ]
    fates *= max(1, count // 50)
    places: list[tuple[Operator, Place]] = (
        [("ours", "deferred")] * 5
        + [("upstream", "deferred")] * 3
        + [("ours", "worker"), ("upstream", "worker")]
    )
    chosen = fates + [rng.choice(places) for _ in range(count - len(fates))]
    return [
        # Airflow fails tasks of upstream's operator falsely whose trigger fires at once (deferral.py).
        Work(f"task-{number:03d}", operator, place, _seconds(place, rng, longest))
        for number, (operator, place) in enumerate(chosen)
    ]


def _seconds(place: Place, rng: random.Random, longest: float) -> float:
    return round(rng.uniform(6.0, longest), 1) if place in ("deferred", "worker") else FOREVER


def specification(work: Sequence[Work]) -> str:
    """What the DAG files read."""
    return json.dumps([{**asdict(each), "dag_id": each.dag_id} for each in work])
