"""An engine in a process that may be killed at any moment: what it knows is in a journal, one write a record.

    python engine_process.py KUBECONFIG NAMESPACE JOURNAL TASK…

A record has the lines and the position after them, or a checkpoint, or an outcome. A life begins with what the journal
says; it ends by itself when all its tasks have ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine_parts import task

from podbay.kube.kubeconfig import load_kubeconfig
from podbay.kube.lease import lease
from podbay.kube.log_lines import Position
from podbay.kube.logs import LogBatch
from podbay.lifecycle.checkpoint import Checkpoint
from podbay.lifecycle.engine import Driver, PodRun
from podbay.lifecycle.outcome import Outcome

LINES = [f"line {number}" for number in range(30)]


@dataclass
class Story:
    """One task's records."""

    lines: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    checkpoint: Checkpoint | None = None
    outcomes: list[str] = field(default_factory=list)


def read_journal(journal: Path) -> dict[str, Story]:
    """By task. A record that a kill has cut is not there yet."""
    found: dict[str, Story] = {}
    text = journal.read_text() if journal.exists() else ""
    for record in map(json.loads, text[: text.rfind("\n") + 1].splitlines()):
        story = found.setdefault(record["task"], Story())
        if "checkpoint" in record:
            story.checkpoint = Checkpoint.from_json(record["checkpoint"])
        if "lines" in record:
            story.lines += record["lines"]
            story.notices += record["notices"]
            assert story.checkpoint is not None, "lines of a pod that nobody wrote down"
            at = {record["container"]: Position.parse(record["position"])} if record["position"] else {}
            positions = {**story.checkpoint.positions, **at}
            story.checkpoint = replace(story.checkpoint, positions=positions)
        if "outcome" in record:
            story.outcomes.append(record["outcome"])
    return found


class Journal(Driver):
    """Of one task."""

    def __init__(self, name: str, descriptor: int) -> None:
        self._name, self._descriptor = name, descriptor

    def _write(self, **record: Any) -> None:
        os.write(self._descriptor, json.dumps({"task": self._name, **record}).encode() + b"\n")

    async def lines(self, batch: LogBatch) -> None:
        self._write(
            container=batch.container,
            lines=[line.text for line in batch.lines if not line.notice],
            notices=[line.text for line in batch.lines if line.notice],
            position=str(batch.position) if batch.position is not None else "",
        )

    async def save(self, checkpoint: Checkpoint) -> None:
        self._write(checkpoint=checkpoint.to_json())

    async def decided(self, outcome: Outcome) -> None:
        self._write(outcome=outcome.kind)


async def main(kubeconfig: str, namespace: str, journal: str, *names: str) -> None:
    known = read_journal(Path(journal))
    descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    async with lease(load_kubeconfig(Path(kubeconfig))) as cluster:

        async def one(number: int, name: str) -> None:
            plan = task(namespace, task_id=name, run=0.2 + number % 10 * 0.2, log="\n".join(LINES))
            story = known.get(name, Story())
            await PodRun(cluster, plan, Journal(name, descriptor), checkpoint=story.checkpoint).run()

        await asyncio.gather(*(one(number, name) for number, name in enumerate(names)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
