"""A node for tests: exec, attach and port-forward reach real processes and sockets of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import struct
import termios
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Literal

from patience import PATIENCE

from podbay.apiserver.streams import ExecOptions, ExecSession, LogOptions, PortStream
from podbay.errors import ApiError, StartError
from podbay.objects.container_log import logged_attempt
from podbay.objects.meta import Object, name_of

Chunk = tuple[Literal["stdout", "stderr"], bytes]


class LocalNode:
    """NodeStreams. `open` holds what has been opened and not closed: nothing, once all clients are gone."""

    def __init__(self) -> None:
        self.open: set[object] = set()
        self.log: list[bytes] = []
        self.log_ended = False
        self.log_changed = asyncio.Event()
        self.produced = 0
        """Bytes of output that were taken from processes so far."""
        self.main: ProcessSession | None = None
        """What attach finds."""

    async def wait_closed(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.open:
                await asyncio.sleep(0.01)

    def write_log(self, line: bytes) -> None:
        self.log.append(line)
        self.log_changed.set()

    def end_log(self) -> None:
        self.log_ended = True
        self.log_changed.set()

    async def logs(self, pod: Object, options: LogOptions) -> AsyncGenerator[bytes, None]:
        logged_attempt(name_of(pod), pod["status"], options.container, previous=options.previous)
        return self._read_log(options)

    async def _read_log(self, options: LogOptions) -> AsyncGenerator[bytes, None]:
        key = object()
        self.open.add(key)
        try:
            start = 0 if options.tail_lines is None else max(0, len(self.log) - options.tail_lines)
            left = options.limit_bytes
            while True:
                for line in self.log[start:]:
                    text = b"2026-01-02T03:04:05.000000006Z " + line if options.timestamps else line
                    yield text if left is None else text[:left]
                    left = None if left is None else left - len(text)
                    if left is not None and left <= 0:
                        return
                start = max(start, len(self.log))
                if not options.follow or self.log_ended:
                    return
                await self.log_changed.wait()
                self.log_changed.clear()
        finally:
            self.open.discard(key)

    async def exec(self, pod: Object, options: ExecOptions) -> ExecSession:
        if pod["status"].get("phase") != "Running":
            raise ApiError(500, "InternalError", f'container not found ("{options.container}")')
        return await ProcessSession.start(self, options)

    async def attach(self, pod: Object, options: ExecOptions) -> ExecSession:
        if self.main is None:
            raise ApiError(500, "InternalError", f'container not found ("{options.container}")')
        return Attached(self, self.main)

    async def port_forward(self, pod: Object, port: int) -> PortStream:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError as err:
            raise ApiError(
                500, "InternalError", f"failed to connect to localhost:{port}: connection refused"
            ) from err
        return SocketStream(self, reader, writer)


class ProcessSession:
    """A process of this machine, with pipes or a terminal."""

    def __init__(self, node: LocalNode, process: asyncio.subprocess.Process, terminal: int | None) -> None:
        self._node, self.process, self._terminal = node, process, terminal
        self._chunks: asyncio.Queue[Chunk | None] = asyncio.Queue(4)
        self._readers: list[asyncio.Task[None]] = []
        node.open.add(self)

    @classmethod
    async def start(cls, node: LocalNode, options: ExecOptions) -> ProcessSession:
        terminal = side = None
        if options.tty:
            terminal, side = pty.openpty()
        streams = [asyncio.subprocess.PIPE] * 3 if side is None else [side] * 3
        try:
            process = await asyncio.create_subprocess_exec(
                *options.command,
                stdin=streams[0] if options.stdin or options.tty else asyncio.subprocess.DEVNULL,
                stdout=streams[1],
                stderr=streams[2],
                start_new_session=True,
                preexec_fn=None if side is None else lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            )
        except FileNotFoundError as err:
            raise StartError("StartError", f'exec: "{options.command[0]}": not found') from err
        finally:
            if side is not None:
                os.close(side)
        session = cls(node, process, terminal)
        session._start_readers()
        return session

    def _start_readers(self) -> None:
        if self._terminal is not None:
            os.set_blocking(self._terminal, False)
            self._readers.append(asyncio.ensure_future(self._read_terminal(self._terminal)))
            return
        for name, pipe in (("stdout", self.process.stdout), ("stderr", self.process.stderr)):
            assert pipe is not None
            self._readers.append(asyncio.ensure_future(self._read_pipe(name, pipe)))

    async def _read_pipe(self, name: Literal["stdout", "stderr"], pipe: asyncio.StreamReader) -> None:
        while data := await pipe.read(65536):
            self._node.produced += len(data)
            await self._chunks.put((name, data))
        await self._chunks.put(None)

    async def _read_terminal(self, terminal: int) -> None:
        while True:
            await _ready(terminal, write=False)
            try:
                data = os.read(terminal, 65536)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                break
            await self._chunks.put(("stdout", data))
        await self._chunks.put(None)

    async def write(self, data: bytes) -> None:
        if self._terminal is not None:
            while data:
                await _ready(self._terminal, write=True)
                data = data[os.write(self._terminal, data) :]
            return
        assert self.process.stdin is not None
        with contextlib.suppress(ConnectionError):
            self.process.stdin.write(data)
            await self.process.stdin.drain()

    async def close_stdin(self) -> None:
        if self._terminal is not None:
            await self.write(b"\x04")
        elif self.process.stdin is not None:
            self.process.stdin.close()

    async def resize(self, width: int, height: int) -> None:
        if self._terminal is not None:
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    async def output(self) -> AsyncIterator[Chunk]:
        ended = 0
        while ended < len(self._readers):
            chunk = await self._chunks.get()
            if chunk is None:
                ended += 1
            else:
                yield chunk

    async def wait(self) -> int:
        # Process.wait also waits for the pipes, which a child that outlives the process may hold.
        while self.process.returncode is None:
            await asyncio.sleep(0.01)
        code = self.process.returncode
        return code if code >= 0 else 128 - code

    async def aclose(self) -> None:
        if self not in self._node.open:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        if self._terminal is not None:
            os.close(self._terminal)
        await self.wait()
        # Pipes that are full, or held by others, would keep the transport open.
        self.process._transport.close()
        self._node.open.discard(self)


async def _ready(descriptor: int, *, write: bool) -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    add = loop.add_writer if write else loop.add_reader
    remove = loop.remove_writer if write else loop.remove_reader
    add(descriptor, lambda: future.done() or future.set_result(None))
    try:
        await future
    finally:
        remove(descriptor)


class Attached:
    """A client at a process that goes on without it."""

    def __init__(self, node: LocalNode, main: ProcessSession) -> None:
        self._node, self._main = node, main
        self.write, self.close_stdin, self.resize = main.write, main.close_stdin, main.resize
        self.output, self.wait = main.output, main.wait
        node.open.add(self)

    async def aclose(self) -> None:
        self._node.open.discard(self)


class SocketStream:
    """PortStream to a socket of this machine."""

    def __init__(self, node: LocalNode, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._node, self._reader, self._writer = node, reader, writer
        node.open.add(self)

    async def read(self) -> bytes:
        return await self._reader.read(65536)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close_write(self) -> None:
        self._writer.write_eof()

    async def aclose(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
        self._node.open.discard(self)


def shell(script: str) -> Sequence[str]:
    """A command that runs script."""
    return ("sh", "-c", script)
