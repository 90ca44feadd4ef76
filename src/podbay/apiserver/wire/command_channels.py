"""Exec and attach over WebSocket channels: stdin 0, stdout 1, stderr 2, status 3, resize 4.

Source: k8s.io/apiserver/pkg/util/proxy/websocket.go (v5), k8s.io/kubelet/pkg/cri/streaming/remotecommand/websocket.go.
"""

from __future__ import annotations

from typing import Literal

import orjson

from podbay.apiserver.streams import ExecOptions, ExecSession
from podbay.apiserver.wire.channels import Channels
from podbay.apiserver.wire.resize import ResizeReader
from podbay.objects.meta import Object

__all__ = ["COMMAND_PROTOCOLS", "ChannelStreams"]

COMMAND_PROTOCOLS = (
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
)
"""What a kubelet's WebSocket endpoint speaks; v5 is kube-apiserver's own."""
_STDIN, _STDOUT, _STDERR, _STATUS, _RESIZE = range(5)


class ChannelStreams:
    """CommandStreams over an open WebSocket."""

    def __init__(self, channels: Channels, options: ExecOptions, *, json_status: bool) -> None:
        """json_status: the protocol is v4 or later and wants the whole Status, not just the words of a failure."""
        self._channels, self._options, self._json_status = channels, options, json_status

    async def greet(self) -> None:
        """An empty message tells the client that it is connected."""
        first = _STDOUT if self._options.stdout else _STDERR if self._options.stderr else _STATUS
        await self._channels.send(first, b"")

    async def pump_input(self, session: ExecSession) -> None:
        sizes = ResizeReader()
        open_stdin = self._options.stdin
        while (message := await self._channels.receive()) is not None:
            if message.channel == _STDIN and open_stdin:
                if message.closed:
                    open_stdin = False
                    await session.close_stdin()
                elif message.data:
                    await session.write(message.data)
            elif message.channel == _RESIZE:
                for width, height in sizes.feed(message.data):
                    await session.resize(width, height)

    async def send(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        if stream == "stdout" and self._options.stdout:
            await self._channels.send(_STDOUT, data)
        elif stream == "stderr" and self._options.stderr:
            await self._channels.send(_STDERR, data)

    async def ping(self) -> None:
        await self._channels.ping()

    async def finish(self, status: Object) -> None:
        if self._json_status:
            await self._channels.send(_STATUS, orjson.dumps(status))
        elif status["status"] != "Success":
            await self._channels.send(_STATUS, str(status["message"]).encode())
        await self._channels.close()
