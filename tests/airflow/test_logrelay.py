"""What stands between a triggerer's log and its supervisor: all bytes, in order, and nobody waits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from podbay.airflow.logrelay import PATIENCE_SECONDS, LogRelay, hold_ends
from podbay.airflow.tasklog import TaskLog
from podbay.kube.log_reader import LogLine
from podbay.kube.logs import LogBatch


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, int]]:
    """The supervisor's end, and the descriptor that the log is written to."""
    reader, writer = socket.socketpair()
    descriptor = os.dup(writer.fileno())
    writer.close()
    with reader:
        yield reader, descriptor
    os.close(descriptor)


def read(reader: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count and (part := reader.recv(count - len(found))):
        found += part
    return found


async def test_a_full_log_does_not_stop_the_loop(ends: tuple[socket.socket, int]) -> None:
    """As in Airflow: a supervisor reads who waits for this loop meanwhile; without the relay the writing never ends."""
    reader, descriptor = ends
    relay = LogRelay(descriptor)
    lines = [f"{number} {'x' * 1000}\n".encode() for number in range(4000)]
    for line in lines:
        assert os.write(descriptor, line) == len(line)
    wanted = b"".join(lines)
    found = await asyncio.wait_for(asyncio.to_thread(read, reader, len(wanted)), 30)
    assert found == wanted
    await relay.passed_on()


async def test_it_is_said_as_soon_as_all_that_was_written_before_is_read(
    ends: tuple[socket.socket, int],
) -> None:
    """The supervisor that has not read it would not know whose it is once the task has ended."""
    reader, descriptor = ends
    relay = LogRelay(descriptor)
    os.write(descriptor, b"line\n" * 200_000)
    waiting = asyncio.create_task(relay.passed_on())
    await asyncio.sleep(0.05)
    # Of other tasks, which goes on as if nothing were asked.
    os.write(descriptor, b"more\n" * 200_000)
    later = asyncio.create_task(relay.passed_on())
    assert len(await asyncio.to_thread(read, reader, 999_000)) == 999_000
    await asyncio.sleep(0.2)
    assert not waiting.done()
    assert len(await asyncio.to_thread(read, reader, 1000)) == 1000
    await asyncio.wait_for(waiting, 5)
    assert len(await asyncio.to_thread(read, reader, 999_000)) == 999_000
    await asyncio.sleep(0.2)
    assert not later.done()
    assert len(await asyncio.to_thread(read, reader, 1000)) == 1000
    await asyncio.wait_for(later, 5)
    os.write(descriptor, b"last\n")
    last = asyncio.create_task(relay.passed_on())
    await asyncio.sleep(0.2)
    assert not last.done()
    assert reader.recv(100) == b"last\n"
    await asyncio.wait_for(last, 5)


async def test_many_ask_at_once(ends: tuple[socket.socket, int]) -> None:
    """A reader of 4 KiB at a time, as Airflow's; nobody is told too early, and what comes after is not held up."""
    reader, descriptor = ends
    relay = LogRelay(descriptor)
    found = bytearray()
    wanted = 0
    ended = threading.Event()

    reader.setblocking(False)
    lock = threading.Lock()

    def slowly() -> None:
        while not ended.is_set() or len(found) < wanted:
            with lock, contextlib.suppress(BlockingIOError):
                found.extend(reader.recv(4096))
            time.sleep(0.001)

    async def task(number: int) -> None:
        nonlocal wanted
        for turn in range(20):
            text = f"{number} {turn} ".encode() + b"x" * 900 + b"\n"
            os.write(descriptor, text)
            wanted += len(text)
            await asyncio.sleep(0)
        await asyncio.wait_for(relay.passed_on(), 30)
        with lock:
            assert text in found

    reading = asyncio.create_task(asyncio.to_thread(slowly))
    try:
        await asyncio.gather(*(task(number) for number in range(100)))
    finally:
        ended.set()
        await asyncio.wait_for(reading, 30)
    assert len(found.splitlines()) == 2000


async def test_lines_wait_while_too_much_is_kept(ends: tuple[socket.socket, int]) -> None:
    reader, descriptor = ends
    relay = LogRelay(descriptor, most=1000)

    def write(_: int, text: str) -> None:
        os.write(descriptor, text.encode())

    log = TaskLog(write, relay=relay)
    batch = LogBatch("base", [LogLine("base", 0, "x" * 1_000_000)], None)
    await asyncio.wait_for(log.lines(batch), 5)
    waiting = asyncio.create_task(log.lines(batch))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    size = len(b"[base] ") + 1_000_000
    await asyncio.to_thread(read, reader, size)
    await asyncio.wait_for(waiting, 5)
    await asyncio.to_thread(read, reader, size)
    await asyncio.wait_for(log.passed_on(), 5)


async def test_far_too_much_is_not_kept(ends: tuple[socket.socket, int]) -> None:
    """By whoever it is written: he waits then, as in Airflow, and nothing is lost."""
    reader, descriptor = ends
    LogRelay(descriptor, kept=1_000_000)
    text = b"x" * 10_000_000
    written = 0

    def write() -> None:
        nonlocal written
        while written < len(text):
            written += os.write(descriptor, text[written : written + 100_000])

    writing = asyncio.create_task(asyncio.to_thread(write))
    await asyncio.sleep(0.3)
    assert 1_000_000 <= written < 3_000_000
    assert await asyncio.to_thread(read, reader, len(text)) == text
    await asyncio.wait_for(writing, 5)


async def test_an_end_is_told_when_its_lines_are_read(ends: tuple[socket.socket, int]) -> None:
    """Of any trigger: with the news of the end Airflow's supervisor closes the log."""
    reader, descriptor = ends
    relay = LogRelay(descriptor)

    class Runner:
        def __init__(self) -> None:
            self.ended = [[7], [], [8, 9], [], []]

        async def cleanup_finished_triggers(self) -> list[int]:
            return self.ended.pop(0)

    hold_ends(relay, Runner)
    runner = Runner()
    os.write(descriptor, b"last of 7\n")
    assert await runner.cleanup_finished_triggers() == []
    assert reader.recv(100) == b"last of 7\n"
    assert await runner.cleanup_finished_triggers() == [7]
    os.write(descriptor, b"last of 9\n")
    assert await runner.cleanup_finished_triggers() == []
    assert await runner.cleanup_finished_triggers() == []
    assert await asyncio.to_thread(reader.recv, 100) == b"last of 9\n"
    assert await runner.cleanup_finished_triggers() == [8, 9]


async def test_an_end_is_told_in_the_end(
    ends: tuple[socket.socket, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a supervisor that has not read for minutes nothing is gained by waiting."""
    _, descriptor = ends

    class Runner:
        ended = (7,)

        async def cleanup_finished_triggers(self) -> list[int]:
            found, self.ended = list(self.ended), ()
            return found

    hold_ends(LogRelay(descriptor), Runner)
    runner = Runner()
    os.write(descriptor, b"last of 7\n")
    assert await runner.cleanup_finished_triggers() == []
    later = time.monotonic() + PATIENCE_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert await runner.cleanup_finished_triggers() == [7]


async def test_waiting_ends_when_it_takes_too_long(ends: tuple[socket.socket, int]) -> None:
    reader, descriptor = ends
    relay = LogRelay(descriptor)
    os.write(descriptor, b"first\n")
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await relay.passed_on(0.1)
    assert reader.recv(100) == b"first\n"
    os.write(descriptor, b"second\n")
    assert await asyncio.to_thread(reader.recv, 100) == b"second\n"
    await asyncio.wait_for(relay.passed_on(), 5)


async def test_nobody_waits_for_a_supervisor_that_is_gone(ends: tuple[socket.socket, int]) -> None:
    reader, descriptor = ends
    relay = LogRelay(descriptor)
    reader.close()
    for _ in range(100):
        os.write(descriptor, b"x" * 100_000)
    await asyncio.wait_for(relay.passed_on(), 5)
