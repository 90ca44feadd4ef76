"""What stands between a triggerer's log and its supervisor: all bytes, in order, and nobody waits."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest

from podbay.airflow.logrelay import LogRelay
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
    while len(found) < count and (part := reader.recv(1 << 20)):
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


async def test_what_was_written_is_passed_on_before_that_is_said(ends: tuple[socket.socket, int]) -> None:
    reader, descriptor = ends
    relay = LogRelay(descriptor)
    os.write(descriptor, b"line\n" * 200_000)
    waiting = asyncio.create_task(relay.passed_on())
    await asyncio.sleep(0.2)
    # The socket does not hold a megabyte.
    assert not waiting.done()
    assert len(await asyncio.to_thread(read, reader, 1_000_000)) == 1_000_000
    await asyncio.wait_for(waiting, 5)
    os.write(descriptor, b"last\n")
    await relay.passed_on()
    reader.setblocking(False)
    assert reader.recv(100) == b"last\n"


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
    await log.passed_on()


async def test_nobody_waits_for_a_supervisor_that_is_gone(ends: tuple[socket.socket, int]) -> None:
    reader, descriptor = ends
    relay = LogRelay(descriptor)
    reader.close()
    for _ in range(100):
        os.write(descriptor, b"x" * 100_000)
    await asyncio.wait_for(relay.passed_on(), 5)
