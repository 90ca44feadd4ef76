"""The thread that writes a triggerer's log: in order, in context, and nobody stands still for it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import socket
import threading
from typing import Any

import pytest

from podbay.airflow.logthread import LogThread, TriggerLog
from podbay.airflow.tasklog import TaskLog
from podbay.kube.log_reader import LogLine
from podbay.kube.logs import LogBatch

TASK = contextvars.ContextVar("task", default="nobody")


class Target:
    """What Airflow gives a trigger: a logger that writes at once, wherever its reader is."""

    name = "task"

    def __init__(self, write: Any) -> None:
        self._write = write

    def log(self, level: int, event: str, **fields: Any) -> None:
        self._write(level, event, fields)


async def test_a_full_log_does_not_stop_the_loop() -> None:
    """As in Airflow: a socket that a supervisor reads, who waits for this loop at that moment."""
    reader, writer = socket.socketpair()
    with reader, writer:
        target = Target(lambda level, event, _: writer.sendall(f"{event}\n".encode()))
        log = TriggerLog(target, LogThread())
        lines = [f"{number} " + "x" * 1000 for number in range(2000)]
        for line in lines:
            log.info("%s", line)
        # Only a loop that goes on comes to read.
        reading = asyncio.to_thread(_read, reader, len(lines))
        got = await asyncio.wait_for(reading, 30)
        await log.thread.written()
    assert got == lines


def _read(reader: socket.socket, count: int) -> list[str]:
    with reader.makefile("r") as file:
        return [next(file).rstrip("\n") for _ in range(count)]


async def test_records_keep_their_order_context_and_error() -> None:
    written: list[tuple[str, int, str, Any]] = []
    log = TriggerLog(Target(lambda level, event, fields: written.append((TASK.get(), level, event, fields))))

    async def say(task: str) -> None:
        TASK.set(task)
        for number in range(3):
            log.warning("%s %d", task, number)
            await asyncio.sleep(0)
        try:
            raise ValueError(task)
        except ValueError:
            log.exception("it failed")

    await asyncio.gather(say("a"), say("b"))
    await log.thread.written()
    for task in "ab":
        own = [(level, event) for of, level, event, _ in written if of == task]
        wanted = [(logging.WARNING, f"{task} {number}") for number in range(3)]
        assert own == [*wanted, (logging.ERROR, "it failed")]
    errors = [str(fields["exc_info"][1]) for _, level, _, fields in written if level == logging.ERROR]
    assert sorted(errors) == ["a", "b"]


async def test_a_record_that_cannot_be_written_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    written: list[str] = []

    def write(level: int, event: str, _: Any) -> None:
        if event == "bad":
            raise BrokenPipeError("nobody reads")
        written.append(event)

    log = TriggerLog(Target(write), LogThread())
    for word in ("first", "bad", "last"):
        log.info(word)
    await log.thread.written()
    assert written == ["first", "last"]
    assert "BrokenPipeError('nobody reads')" in capsys.readouterr().err


async def test_lines_wait_while_too_many_are_unwritten() -> None:
    gate = threading.Event()
    thread = LogThread(most=100)
    log = TriggerLog(Target(lambda *_: gate.wait(30)), thread)
    task_log = TaskLog(log.log, thread=thread)
    batch = LogBatch("base", [LogLine("base", 0, "x" * 200)], None)
    await asyncio.wait_for(task_log.lines(batch), 5)
    waiting = asyncio.create_task(task_log.lines(batch))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    gate.set()
    await asyncio.wait_for(waiting, 5)
    await asyncio.wait_for(task_log.written(), 5)
