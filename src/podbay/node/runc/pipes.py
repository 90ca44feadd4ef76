"""Descriptors of streams on the event loop: several outputs read into one bounded buffer, one input written.

Used for exec and attach. Nothing here is a task: readiness callbacks fill the buffer and stop when it is full, so a
slow reader slows the writing process down, as a pipe would.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator
from typing import Literal

__all__ = ["CHUNK", "OutputBuffer", "PipeReader", "Stream", "write_all"]

CHUNK = 64 << 10
_FULL = 1 << 20
"""Bytes held for a slow reader before the process has to wait."""

Stream = Literal["stdout", "stderr"]


class OutputBuffer:
    """Chunks between a callback that puts and one reader."""

    def __init__(self) -> None:
        self._chunks: deque[tuple[Stream, bytes]] = deque()
        self._size = 0
        self._finished = False
        self._changed = asyncio.Event()

    @property
    def full(self) -> bool:
        return self._size >= _FULL

    def put(self, stream: Stream, data: bytes) -> None:
        self._chunks.append((stream, data))
        self._size += len(data)
        self._changed.set()

    def finish(self) -> None:
        """No more will come."""
        self._finished = True
        self._changed.set()

    async def get(self) -> tuple[Stream, bytes] | None:
        """The next chunk; None at the end."""
        while not self._chunks:
            if self._finished:
                return None
            self._changed.clear()
            await self._changed.wait()
        stream, data = self._chunks.popleft()
        self._size -= len(data)
        return stream, data


class PipeReader:
    """Reads descriptors until end of file on all of them. Owns them: closes each at its end."""

    def __init__(self, streams: dict[int, Stream]) -> None:
        self._loop = asyncio.get_running_loop()
        self._streams = dict(streams)
        self._waiting: set[int] = set()
        self._buffer = OutputBuffer()
        for descriptor in self._streams:
            os.set_blocking(descriptor, False)
            self._loop.add_reader(descriptor, self._readable, descriptor)
        if not self._streams:
            self._buffer.finish()

    def _readable(self, descriptor: int) -> None:
        if self._buffer.full:
            self._loop.remove_reader(descriptor)
            self._waiting.add(descriptor)
            return
        try:
            data = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            # A terminal whose other side was closed answers EIO.
            data = b""
        if data:
            self._buffer.put(self._streams[descriptor], data)
        else:
            self._close(descriptor)

    def _close(self, descriptor: int) -> None:
        self._loop.remove_reader(descriptor)
        self._waiting.discard(descriptor)
        del self._streams[descriptor]
        os.close(descriptor)
        if not self._streams:
            self._buffer.finish()

    async def chunks(self) -> AsyncIterator[tuple[Stream, bytes]]:
        while (chunk := await self._buffer.get()) is not None:
            for descriptor in self._waiting:
                self._loop.add_reader(descriptor, self._readable, descriptor)
            self._waiting.clear()
            yield chunk

    def close(self) -> None:
        """Stop reading."""
        for descriptor in list(self._streams):
            self._close(descriptor)


async def write_all(descriptor: int, data: bytes) -> bool:
    """Write to a non-blocking descriptor, waiting while it is full. False when nobody reads it any more."""
    loop = asyncio.get_running_loop()
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            writable = asyncio.Event()
            loop.add_writer(descriptor, writable.set)
            try:
                await writable.wait()
            finally:
                loop.remove_writer(descriptor)
        except OSError:
            return False
    return True
