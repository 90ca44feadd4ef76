"""Exec and attach over SPDY streams, for clients that do not speak WebSocket.

The client opens one stream a purpose and names it in the header `streamType`.
Source: k8s.io/kubelet/pkg/cri/streaming/remotecommand/httpstream.go.
"""

from __future__ import annotations

import asyncio
from typing import Literal

import orjson

from podbay.apiserver.streams import ExecOptions, ExecSession
from podbay.apiserver.wire.duplex import Duplex
from podbay.apiserver.wire.resize import ResizeReader
from podbay.apiserver.wire.spdy import SpdyConnection, SpdyStream
from podbay.objects.meta import Object

__all__ = ["SPDY_COMMAND_PROTOCOLS", "SpdyStreams"]

SPDY_COMMAND_PROTOCOLS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
CREATION_SECONDS = 30.0
"""How long a client may take to open the streams it asked for (Go: DefaultStreamCreationTimeout)."""
_FINISH_SECONDS = 15 * 60.0
"""How long a client may take to read what is on the way, as with WebSockets."""


class SpdyStreams:
    """CommandStreams over an upgraded connection."""

    def __init__(self, wire: Duplex, options: ExecOptions, protocol: str) -> None:
        self._options = options
        self._json_status = protocol == "v4.channel.k8s.io"
        resizes = options.tty and protocol in ("v4.channel.k8s.io", "v3.channel.k8s.io")
        wanted = {
            "stdin": options.stdin,
            "stdout": options.stdout,
            "stderr": options.stderr,
            "resize": resizes,
        }
        self._expected = {"error"} | {name for name, on in wanted.items() if on}
        self._streams: dict[str, SpdyStream] = {}
        self._complete = asyncio.Event()
        self._connection = SpdyConnection(wire, self._accept)

    async def serve(self) -> None:
        """Carry the frames; run it beside everything else. Ends when the client goes."""
        await self._connection.serve()

    async def wait_streams(self) -> bool:
        """True when the client has opened all it asked for, False when it took too long."""
        try:
            async with asyncio.timeout(CREATION_SECONDS):
                await self._complete.wait()
        except TimeoutError:
            return False
        return True

    def _accept(self, stream: SpdyStream) -> bool:
        kind = stream.headers.get("streamtype", "")
        if kind not in self._expected or kind in self._streams:
            return False
        self._streams[kind] = stream
        if len(self._streams) == len(self._expected):
            self._complete.set()
        return True

    async def pump_input(self, session: ExecSession) -> None:
        async with asyncio.TaskGroup() as group:
            if "stdin" in self._streams:
                group.create_task(self._pump_stdin(session, self._streams["stdin"]))
            if "resize" in self._streams:
                group.create_task(self._pump_sizes(session, self._streams["resize"]))
        # The client is there as long as `serve` runs beside this.
        await asyncio.Event().wait()

    async def _pump_stdin(self, session: ExecSession, stream: SpdyStream) -> None:
        try:
            while data := await stream.read():
                await session.write(data)
        except ConnectionError:
            # A client that is gone has not ended its input: a process it was attached to goes on reading.
            if self._connection.closed:
                return
        await session.close_stdin()

    async def _pump_sizes(self, session: ExecSession, stream: SpdyStream) -> None:
        sizes = ResizeReader()
        try:
            while data := await stream.read():
                for width, height in sizes.feed(data):
                    await session.resize(width, height)
        except ConnectionError:
            pass

    async def send(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        found = self._streams.get(stream)
        if found is not None:
            await found.write(data)

    async def ping(self) -> None:
        await self._connection.ping()

    async def finish(self, status: Object) -> None:
        error = self._streams["error"]
        if self._json_status:
            await error.write(orjson.dumps(status))
        elif status["status"] != "Success":
            await error.write(str(status["message"]).encode())
        for stream in self._streams.values():
            await stream.close()
        await self._connection.go_away()
        # `serve` runs beside this and ends the session when the client closes.
        await asyncio.sleep(_FINISH_SECONDS)
