"""The engine's process is killed with SIGKILL, again and again: every task ends as it should, every line is there once."""

from __future__ import annotations

import asyncio
import math
import os
import random
import sys
from pathlib import Path

import pytest
from engine_parts import Cluster
from engine_process import LINES, read_journal
from patience import eventually

from podbay.testing import Environment

HERE = Path(__file__).parent


@pytest.mark.slow
async def test_a_process_that_is_killed_again_and_again(
    scripted: Environment, cluster: Cluster, tmp_path: Path
) -> None:
    journal, rng = tmp_path / "journal", random.Random(8)
    names = [f"killed-{number}" for number in range(20)]
    words = [str(scripted.kubeconfig), cluster.namespace, str(journal), *names]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(HERE / "engine_process.py"), *words]

    def records() -> int:
        return len(journal.read_text().splitlines()) if journal.exists() else 0

    async def life(*, records_until_killed: int | None) -> int | None:
        """Its exit code; None when it was killed."""
        enough = math.inf if records_until_killed is None else records() + records_until_killed
        process = await asyncio.create_subprocess_exec(*command, env=environment)
        ended = asyncio.create_task(process.wait())
        await eventually(lambda: ended.done() or records() >= enough, tell=records)
        if ended.done():
            return ended.result()
        process.kill()
        await ended
        return None

    codes = [await life(records_until_killed=rng.randint(1, 25)) for _ in range(6)]
    assert codes.count(None) >= 3, f"it was never killed: {codes}"
    assert await life(records_until_killed=None) == 0
    stories = read_journal(journal)
    assert {name: set(story.outcomes) for name, story in stories.items()} == {n: {"succeeded"} for n in names}
    wrong = {name: story.lines for name, story in stories.items() if story.lines != LINES or story.notices}
    assert not wrong
    assert await cluster.pods() == []
