"""Joining a container's first process through conmon, and orders to conmon.

conmon's socket carries packets; those from it begin with the number of the stream. Orders are lines on a named pipe.
Source: containers/conmon src/conn_sock.c, src/ctrl.c.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal

from podbay.errors import StartError
from podbay.node.runc.layout import ContainerFiles
from podbay.node.runc.pipes import OutputBuffer, Stream

__all__ = ["AttachSession", "open_attach", "order"]

_READ = (32 << 10) + 1
_WRITE = 32 << 10
"""conmon reads at most this much of a packet and loses the rest."""
_STREAMS: dict[int, Stream] = {2: "stdout", 3: "stderr"}


def order(files: ContainerFiles, kind: Literal["resize", "reopen"], height: int = 0, width: int = 0) -> bool:
    """Tell conmon the terminal's size, or to reopen the log. False when it has gone."""
    number = 1 if kind == "resize" else 2
    try:
        pipe = os.open(files.control, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(pipe, f"{number} {height} {width}\n".encode())
    finally:
        os.close(pipe)
    return True


def open_attach(files: ContainerFiles) -> socket.socket:
    """Connect to conmon. StartError when the container does not run."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        # Socket addresses are short; a path by way of a descriptor always fits.
        directory = os.open(files.path, os.O_PATH | os.O_CLOEXEC)
        try:
            connection.connect(f"/proc/self/fd/{directory}/{files.attach.name}")
        finally:
            os.close(directory)
    except OSError as error:
        connection.close()
        raise StartError("AttachError", f"container is not running: {error.strerror}") from error
    connection.setblocking(False)
    return connection


class AttachSession:
    """An attached client, as `ExecSession` of the streams protocol. It opens with a connection that it then owns."""

    def __init__(
        self,
        connection: socket.socket,
        files: ContainerFiles,
        *,
        stdin: bool,
        wait: Callable[[], Awaitable[int]],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._files = files
        self._stdin = stdin
        self._wait = wait
        self._buffer = OutputBuffer()
        self._paused = False
        self._open = True
        self._loop.add_reader(connection, self._readable)

    def _readable(self) -> None:
        if self._buffer.full:
            self._loop.remove_reader(self._connection)
            self._paused = True
            return
        try:
            packet = self._connection.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            self._loop.remove_reader(self._connection)
            self._buffer.finish()
        elif packet[0] in _STREAMS and len(packet) > 1:
            self._buffer.put(_STREAMS[packet[0]], packet[1:])

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), _WRITE):
            if not self._stdin:
                return
            try:
                await self._loop.sock_sendall(self._connection, data[start : start + _WRITE])
            except OSError:
                return

    async def close_stdin(self) -> None:
        if self._stdin:
            self._stdin = False
            try:
                self._connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass

    async def resize(self, width: int, height: int) -> None:
        order(self._files, "resize", height, width)

    async def output(self) -> AsyncIterator[tuple[Stream, bytes]]:
        while (chunk := await self._buffer.get()) is not None:
            if self._paused and self._open:
                self._paused = False
                self._loop.add_reader(self._connection, self._readable)
            yield chunk

    async def wait(self) -> int:
        return await self._wait()

    async def aclose(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._connection)
            self._connection.close()
            self._buffer.finish()
