"""Port-forward over WebSocket channels: two for each port of the request, data and error.

The first message of every channel is its port, two bytes, little endian. There is no way to close one channel.
Source: k8s.io/kubelet/pkg/cri/streaming/portforward/websocket.go.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable, Sequence

from podbay.aio.race import race
from podbay.apiserver.streams import PortStream
from podbay.apiserver.wire.channels import Channels
from podbay.apiserver.wire.inbox import Inbox
from podbay.apiserver.wire.port_forward import forward_port
from podbay.apiserver.wire.remote_command import PING_SECONDS
from podbay.objects.meta import Object

__all__ = ["PORT_CHANNEL_PROTOCOLS", "serve_port_channels"]

PORT_CHANNEL_PROTOCOLS = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io", "")

Connect = Callable[[int], Awaitable[PortStream]]


class _Pair:
    """ClientPair over the channels of one port."""

    def __init__(self, channels: Channels, index: int, port: int) -> None:
        self._channels, self._index, self.port = channels, index, port
        self.inbox = Inbox()

    async def announce(self) -> None:
        for channel in (2 * self._index, 2 * self._index + 1):
            await self._channels.send(channel, struct.pack("<H", self.port))

    async def read(self) -> bytes:
        return await self.inbox.read()

    async def write(self, data: bytes) -> None:
        await self._channels.send(2 * self._index, data)

    async def close_write(self) -> None:
        pass

    async def report(self, message: str) -> None:
        await self._channels.send(2 * self._index + 1, message.encode())


async def serve_port_channels(
    pod: Object, ports: Sequence[int], channels: Channels, connect: Connect
) -> None:
    """Forward all ports until every connection has ended or the client has gone. ConnectionError passes."""
    pairs = [_Pair(channels, index, port) for index, port in enumerate(ports)]
    for pair in pairs:
        await pair.announce()
    await race(_forward_all(pod, pairs, connect), _dispatch(pairs, channels), _pings(channels))
    await channels.close()


async def _forward_all(pod: Object, pairs: Sequence[_Pair], connect: Connect) -> None:
    async with asyncio.TaskGroup() as group:
        for pair in pairs:
            group.create_task(_forward(pod, pair, connect))


async def _forward(pod: Object, pair: _Pair, connect: Connect) -> None:
    problem = await forward_port(pod, pair.port, pair, lambda: connect(pair.port))
    pair.inbox.drop()
    if problem:
        with contextlib.suppress(ConnectionError):
            await pair.report(problem)


async def _dispatch(pairs: Sequence[_Pair], channels: Channels) -> None:
    while (message := await channels.receive()) is not None:
        index, error = divmod(message.channel, 2)
        if not error and 0 <= index < len(pairs):
            await pairs[index].inbox.take(message.data)


async def _pings(channels: Channels) -> None:
    while True:
        await asyncio.sleep(PING_SECONDS)
        await channels.ping()
