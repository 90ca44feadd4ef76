"""The tasks of Airflow's fault suite: where each runs, what its pods do in each try, what must come of it. Pure, by seed."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from engine_parts import SCRIPTED, frame
from fault_work import TICK, TICKS

from podbay.pods.sidecar import SIDECAR_NAME

__all__ = ["DAG_ID", "MAPPED", "NAMESPACE", "SKIP_CODE", "Key", "Work", "make_work", "specification"]

DAG_ID = "airflow_faults"
MAPPED = "mapped"
NAMESPACE = "faults"
SKIP_CODE = 99
WORKER_RETRIES = 5
"""Of tasks that run on workers: more than workers are killed under one of them."""

Place = Literal["triggerer", "finished on a worker", "started on a worker", "worker", "mapped"]
Key = tuple[str, int]
"""Task id and map index."""


@dataclass
class Work:
    """One task instance, and its truth."""

    number: int
    place: Place
    index: int
    """Map index, -1 for a task that is not mapped."""
    run_seconds: float
    codes: list[int]
    """Exit code of the pod of each try; the last one is that of all later tries."""
    retries: int
    lines: int
    ticks: bool
    transport: Literal["sidecar", "termination_message"]
    result: dict[str, Any] | None
    deleted_after: float | None
    """Somebody deletes the pod of its first try so many seconds after it began."""

    @property
    def key(self) -> Key:
        return (MAPPED if self.index >= 0 else f"task_{self.number:03d}", self.index)

    def code(self, try_number: int) -> int:
        return self.codes[min(try_number, len(self.codes)) - 1]

    def expected(self, try_number: int) -> list[str]:
        """The lines of the main container of the pod that was made for this try."""
        if self.ticks:
            return TICKS[: int(self.run_seconds / TICK) + 1]
        return [f"{self.number}: try {try_number} line {line}" for line in range(self.lines)]

    @property
    def natural(self) -> tuple[str, int]:
        """State and tries when nothing is done to it."""
        for number in range(1, self.retries + 2):
            if self.code(number) == 0:
                return "success", number
            if self.code(number) == SKIP_CODE:
                return "skipped", number
        return "failed", self.retries + 1

    def annotations(self) -> dict[str, str]:
        """The script of its pods, with templates for what depends on the try."""
        codes = json.dumps(self.codes)
        marks = {
            "run-seconds": f"{self.run_seconds:.2f}",
            "exit-code": f"{{{{ {codes}[[ti.try_number, {len(self.codes)}] | min - 1] }}}}",
        }
        if not self.ticks and self.lines:
            text = "{% for line in range(" + str(self.lines) + ") %}"
            text += f"{self.number}: try {{{{ ti.try_number }}}} line {{{{ line }}}}\n" + "{% endfor %}"
            marks["log"] = text
        marks |= self._result_script()
        found = {SCRIPTED + key: value for key, value in marks.items()}
        return found | ({"tests/ticks": "yes"} if self.ticks else {})

    def _result_script(self) -> dict[str, str]:
        if self.place == "mapped" or self.result is None:
            return {}
        content = json.dumps(self.result)
        if self.transport == "termination_message":
            return {"message": content}
        text = frame(content.encode())
        found = {f"log.{SIDECAR_NAME}": text}
        return found | ({f"message.{SIDECAR_NAME}": text} if len(text) < 3000 else {})

    def parameters(self) -> dict[str, Any]:
        """Of the operator, as JSON."""
        given: dict[str, Any] = {"retries": self.retries}
        if SKIP_CODE in self.codes:
            given["skip_on_exit_code"] = SKIP_CODE
        if self.result is not None:
            given |= {"do_xcom_push": True, "result_transport": self.transport}
        if self.place == "worker":
            given["deferrable"] = False
        return given


def specification(work: Sequence[Work]) -> str:
    """What the DAG file reads."""
    plain = [each for each in work if each.index < 0]
    mapped = [each for each in work if each.index >= 0]
    tasks = [
        {
            "task_id": each.key[0],
            "place": each.place,
            "annotations": each.annotations(),
            "given": each.parameters(),
        }
        for each in plain
    ]
    return json.dumps(
        {
            "tasks": tasks,
            "mapped": [each.annotations() for each in mapped],
            "retries": mapped[0].retries if mapped else 0,
        }
    )


def make_work(count: int, rng: random.Random, *, longest: float) -> list[Work]:
    """Tasks of all sorts; `longest` is the most seconds that a pod runs."""
    places: list[Place] = (
        ["triggerer"] * 10 + ["finished on a worker"] * 2 + ["started on a worker", "worker"]
    )
    mapped = max(2, count // 10)
    found = [_one(number, rng.choice(places), -1, rng, longest) for number in range(count - mapped)]
    return found + [_one(count - mapped + index, "mapped", index, rng, longest) for index in range(mapped)]


def _one(number: int, place: Place, index: int, rng: random.Random, longest: float) -> Work:
    # Never on a tick, so that it is certain which line was the last.
    run_seconds = round(rng.uniform(0, longest), 1) + 0.05
    codes = rng.choice([[0], [0], [0], [0], [0], [1, 0], [1, 0], [2], [1, 3, 0], [SKIP_CODE]])
    retries = rng.choice([0, 1, 2])
    if place == "mapped":
        codes, retries = rng.choice([[0], [0], [1, 0]]), 2
    elif place != "triggerer":
        retries = WORKER_RETRIES
        codes = rng.choice([[0], [0], [1, 0]])
    return Work(
        number=number,
        place=place,
        index=index,
        run_seconds=run_seconds,
        codes=codes,
        retries=retries,
        lines=rng.choice([0, 1, 5, 60]),
        ticks=rng.random() < 0.5,
        transport=rng.choice(["sidecar", "sidecar", "termination_message"]),
        result=_result(number, rng) if place != "mapped" and rng.random() < 0.5 else None,
        deleted_after=rng.uniform(0, longest / 2) if retries and rng.random() < 0.1 else None,
    )


def _result(number: int, rng: random.Random) -> dict[str, Any]:
    return {"task": number, "pad": "y" * rng.choice([0, 100, 1000])}
