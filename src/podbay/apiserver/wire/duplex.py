"""A two-way stream of bytes to the client: an upgraded connection, or binary messages of a WebSocket.

What SPDY runs on. Both give back-pressure in both directions and hold a bounded amount.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol, cast

from aiohttp import WSMsgType, web

__all__ = ["Duplex", "RawDuplex", "TunnelDuplex"]

_READ_LIMIT = 64 * 1024
"""Bytes read ahead, give or take one read of the socket."""


class Duplex(Protocol):
    """Closing is up to whoever made it."""

    async def read(self) -> bytes:
        """The next bytes, empty when the client sends no more."""
        ...

    async def write(self, data: bytes) -> None:
        """Send, waiting while the client does not read. Raises ConnectionError when it has gone."""
        ...


class RawDuplex:
    """The connection of a request that was answered with 101, in the place of HTTP."""

    def __init__(self, response: web.StreamResponse, arrived: _Arrived) -> None:
        self._response, self._arrived = response, arrived

    @classmethod
    async def upgrade(
        cls, raw: web.BaseRequest, headers: dict[str, str]
    ) -> tuple[RawDuplex, web.StreamResponse]:
        """Answer 101 and take the connection over; it is closed once the response has been returned."""
        if raw.transport is None:
            raise ConnectionResetError("the client has gone")
        response = web.StreamResponse(status=101, headers=headers)
        response.force_close()
        arrived = _Arrived(raw.transport)
        # Before the answer goes out: nothing the client sends upon it may be taken for another request.
        raw.protocol.set_parser(cast(Any, arrived))
        await response.prepare(raw)
        return cls(response, arrived), response

    async def read(self) -> bytes:
        return await self._arrived.read()

    async def write(self, data: bytes) -> None:
        await self._response.write(data)


class _Arrived:
    """What aiohttp hands the bytes of an upgraded connection to; holds the socket up while too much is held."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._held = bytearray()
        self._ended = False
        self._changed = asyncio.Event()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._held += data
        self._changed.set()
        if len(self._held) > _READ_LIMIT:
            self._transport.pause_reading()
        return False, b""

    def feed_eof(self) -> None:
        self._ended = True
        self._changed.set()

    async def read(self) -> bytes:
        while not self._held:
            if self._ended:
                return b""
            self._changed.clear()
            await self._changed.wait()
        data = bytes(self._held)
        self._held.clear()
        if not self._transport.is_closing():
            self._transport.resume_reading()
        return data


class TunnelDuplex:
    """Bytes in binary messages of a WebSocket; the messages' borders mean nothing."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        while True:
            message = await self._socket.receive()
            if message.type is not WSMsgType.BINARY:
                return b""
            if message.data:
                return bytes(message.data)

    async def write(self, data: bytes) -> None:
        await self._socket.send_bytes(data)
