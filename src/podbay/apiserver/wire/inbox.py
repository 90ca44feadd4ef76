"""Bytes from a client that wait for their reader: one of several streams that share a connection.

Whoever feeds it waits while it is full, and with it the whole connection: that is the back-pressure there is.
"""

from __future__ import annotations

import asyncio

__all__ = ["Inbox"]

_LIMIT = 256 * 1024
"""Bytes held before the feeder waits."""


class Inbox:
    """One feeder, one reader."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._held = 0
        self.ended = self.lost = self._unwanted = False
        self._changed = asyncio.Event()

    async def read(self) -> bytes:
        """What has arrived, at least one byte; b"" after the last. ConnectionResetError when it was cut off."""
        while not self._chunks:
            if self.lost:
                raise ConnectionResetError("the client reset the stream")
            if self.ended:
                return b""
            await self._wait()
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._held = 0
        self._changed.set()
        return data

    async def take(self, data: bytes) -> None:
        """Feed; waits while too much is held. Data nobody wants any more is dropped."""
        if data and not self._unwanted and not self.ended:
            self._chunks.append(data)
            self._held += len(data)
            self._changed.set()
        while self._held > _LIMIT and not self._unwanted and not self.lost:
            await self._wait()

    def end(self) -> None:
        """Nothing more will come."""
        self.ended = True
        self._changed.set()

    def lose(self) -> None:
        """The client cut the stream off."""
        self.lost = True
        self._changed.set()

    def drop(self) -> None:
        """Nobody reads any more."""
        self._unwanted = True
        self._chunks.clear()
        self._changed.set()

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()
