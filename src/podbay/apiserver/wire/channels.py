"""Numbered channels in the messages of one WebSocket: the `channel.k8s.io` family of subprotocols.

The first byte of a message is the channel; in the base64 protocols it is a digit and the rest is base64. Protocol v5
adds channel 255, whose one byte names the channel that the client closes.
Source: k8s.io/streaming/pkg/httpstream/wsstream/conn.go.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from aiohttp import WSMsgType, web

from podbay.apiserver import status

__all__ = ["V5", "ChannelMessage", "Channels", "open_websocket"]

V5 = "v5.channel.k8s.io"
_CLOSE_SIGNAL = 255
_MESSAGE_LIMIT = 32 * 1024 * 1024
"""Bytes of a message from a client (Go: DefaultMaxPayloadBytes)."""
_FINISH_SECONDS = 15 * 60.0
"""How long a client may take to read what is on the way and to answer the close (kube-apiserver: finishTimeout)."""


@dataclass(frozen=True, slots=True)
class ChannelMessage:
    """Data for a channel, or its end (v5 only)."""

    channel: int
    data: bytes = b""
    closed: bool = False


async def open_websocket(raw: web.BaseRequest, protocol: str) -> web.WebSocketResponse:
    """Answer the handshake with the chosen subprotocol ("" for none). Raises ApiError 400 for a bad handshake."""
    socket = web.WebSocketResponse(
        protocols=(protocol,) if protocol else (),
        timeout=_FINISH_SECONDS,
        max_msg_size=_MESSAGE_LIMIT,
        compress=False,
    )
    try:
        await socket.prepare(raw)
    except web.HTTPException as err:
        raise status.bad_request(err.text or "bad WebSocket handshake") from err
    return socket


class Channels:
    """The channels of an open WebSocket. Reading is for one task at a time."""

    def __init__(self, socket: web.WebSocketResponse, protocol: str) -> None:
        self._socket = socket
        self._base64 = "base64" in protocol
        self._close_signals = protocol == V5

    async def receive(self) -> ChannelMessage | None:
        """The next message, None once the client has closed or gone. Messages that mean nothing are passed over."""
        while True:
            message = await self._socket.receive()
            if message.type is WSMsgType.TEXT:
                found = self._decode(message.data.encode())
            elif message.type is WSMsgType.BINARY:
                found = self._decode(bytes(message.data))
            else:
                return None
            if found is not None:
                return found

    async def send(self, channel: int, data: bytes) -> None:
        """Waits while the client does not read. Raises ConnectionError when it has gone."""
        if self._base64:
            await self._socket.send_str(f"{channel}{base64.b64encode(data).decode()}")
        else:
            await self._socket.send_bytes(bytes((channel,)) + data)

    async def ping(self) -> None:
        """Something to send, so that a client that vanished is found out by TCP."""
        await self._socket.ping()

    async def close(self) -> None:
        """Say that this is all and wait until the client has read it. Nobody may be in `receive`."""
        await self._socket.close()

    def _decode(self, data: bytes) -> ChannelMessage | None:
        if not data:
            return None
        if not self._base64:
            channel, data = data[0], data[1:]
            if channel == _CLOSE_SIGNAL and self._close_signals:
                return ChannelMessage(data[0], closed=True) if len(data) == 1 else None
            return ChannelMessage(channel, data)
        try:
            return ChannelMessage(data[0] - ord("0"), base64.b64decode(data[1:], validate=True))
        except binascii.Error:
            return None
