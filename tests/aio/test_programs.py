"""Programs that are asked something: real ones, and what people's scripts do wrong."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from podbay.aio.programs import OUTPUT_LIMIT, ask_program

ENV = {"PATH": os.environ["PATH"]}


async def ask(script: str, *, asked: bytes | None = None, seconds: float = 60.0) -> tuple[int, bytes, bytes]:
    return await ask_program(["sh", "-c", script], env=ENV, seconds=seconds, asked=asked)


async def test_question_and_answer() -> None:
    assert await ask("cat; echo aside >&2; exit 3", asked=b"who?") == (3, b"who?", b"aside\n")


async def test_nobody_asks_anything() -> None:
    assert await ask("cat; echo done") == (0, b"done\n", b"")


async def test_a_program_that_does_not_listen() -> None:
    assert (await ask("exec <&-; echo heard enough", asked=b"x" * 1_000_000))[1] == b"heard enough\n"


async def test_a_signal_is_told() -> None:
    assert (await ask("kill -9 $$"))[0] == -9


async def test_what_is_printed_is_bounded_to_its_end() -> None:
    _, said, _ = await ask(f"head -c {3 * OUTPUT_LIMIT} /dev/zero; echo end")
    assert len(said) == OUTPUT_LIMIT
    assert said.endswith(b"end\n")


async def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await ask(f"sleep 1000 & echo $! > {tmp_path}/child; wait", seconds=1.0)
    assert time.monotonic() - began < 500
    child = int((tmp_path / "child").read_text())
    for _ in range(1000):
        if not _lives(child):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("its child lives on")


async def test_a_caller_that_gives_up_leaves_nothing(tmp_path: Path) -> None:
    task = asyncio.create_task(ask(f"echo $$ > {tmp_path}/pid; exec sleep 1000"))
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not _lives(int((tmp_path / "pid").read_text()))


async def test_what_cannot_be_started_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await ask_program([str(tmp_path / "absent")], env=ENV, seconds=1.0)


def _lives(pid: int) -> bool:
    """A process that is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
