"""A terminal's or a pipe's side of an attached container: channels over a WebSocket.

Each message begins with the number of its channel. A terminal sends its size as JSON; the server says last how it ended.
Source: k8s.io/client-go/tools/remotecommand/websocket.go, v4.go, v5.go.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final, Literal

import orjson

from podbay.errors import ApiError
from podbay.kube.transport import HttpSocket

__all__ = ["PROTOCOLS", "Attachment"]

PROTOCOLS: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")
"""v5 can end the input alone; kube-apiserver has it since 1.30."""
_STDIN, _STDOUT, _STDERR, _STATUS, _RESIZE = range(5)
_CLOSE: Final = 255


class Attachment:
    """The streams of one container."""

    def __init__(self, socket: HttpSocket) -> None:
        self._socket = socket

    async def output(self) -> AsyncGenerator[tuple[Literal["stdout", "stderr"], bytes], None]:
        """What the container writes, until it ends. Raises ApiError when it cannot be attached to, UnreachableError."""
        while (message := await self._socket.receive()) is not None:
            if not message:
                continue
            channel, data = message[0], message[1:]
            if channel == _STDOUT and data:
                yield "stdout", data
            elif channel == _STDERR and data:
                yield "stderr", data
            elif channel == _STATUS:
                _judge(data)

    async def write(self, data: bytes) -> None:
        """Input. Raises UnreachableError."""
        await self._socket.send(bytes([_STDIN]) + data)

    async def close_input(self) -> bool:
        """End the input; False where the cluster is too old to be told."""
        if self._socket.protocol != PROTOCOLS[0]:
            return False
        await self._socket.send(bytes([_CLOSE, _STDIN]))
        return True

    async def resize(self, columns: int, rows: int) -> None:
        """The terminal's size in characters."""
        await self._socket.send(bytes([_RESIZE]) + orjson.dumps({"Width": columns, "Height": rows}))


def _judge(data: bytes) -> None:
    """Raise what the server says went wrong; that a command has failed is no error of the session."""
    try:
        status = orjson.loads(data)
    except orjson.JSONDecodeError:
        return
    if isinstance(status, dict) and status.get("status") == "Failure":
        if status.get("reason") == "NonZeroExitCode":
            return
        raise ApiError.from_status({"code": 500, **status})
