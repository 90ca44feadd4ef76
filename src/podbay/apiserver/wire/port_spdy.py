"""Port-forward over SPDY: many connections to many ports of one pod, each a pair of streams, data and error.

Source: k8s.io/kubelet/pkg/cri/streaming/portforward/httpstream.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from podbay.aio.race import cancel_all, race
from podbay.apiserver.streams import PortStream
from podbay.apiserver.wire.duplex import Duplex
from podbay.apiserver.wire.port_forward import forward_port
from podbay.apiserver.wire.remote_command import PING_SECONDS
from podbay.apiserver.wire.spdy import SpdyConnection, SpdyStream
from podbay.objects.meta import Object

__all__ = ["PortForwarding"]

CREATION_SECONDS = 30.0
"""How long a client may take to open the second stream of a pair."""

Connect = Callable[[int], Awaitable[PortStream]]


@dataclass(slots=True)
class _Pair:
    """The two streams of one connection, as they come."""

    streams: dict[str, SpdyStream] = field(default_factory=dict)
    complete: asyncio.Event = field(default_factory=asyncio.Event)


class PortForwarding:
    """Serves one client's forwarded connections over one SPDY connection."""

    def __init__(self, pod: Object, wire: Duplex, connect: Connect) -> None:
        self._pod, self._connect = pod, connect
        self._connection = SpdyConnection(wire, self._accept)
        self._pairs: dict[str, _Pair] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until the client goes; all its connections have ended then. ConnectionError passes."""
        try:
            await race(self._connection.serve(), self._pings())
        finally:
            await cancel_all(self._tasks)

    async def _pings(self) -> None:
        while True:
            await asyncio.sleep(PING_SECONDS)
            await self._connection.ping()

    def _accept(self, stream: SpdyStream) -> bool:
        kind, port = stream.headers.get("streamtype", ""), _port(stream.headers)
        if not port or kind not in ("data", "error"):
            return False
        pair_id = _pair_id(stream, kind)
        pair = self._pairs.get(pair_id)
        if pair is None:
            pair = self._pairs[pair_id] = _Pair()
            task = asyncio.ensure_future(self._forward(pair_id, pair, port))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if kind in pair.streams:
            return False
        pair.streams[kind] = stream
        if len(pair.streams) == 2:
            pair.complete.set()
        return True

    async def _forward(self, pair_id: str, pair: _Pair, port: int) -> None:
        try:
            problem = await self._carry(pair_id, pair, port)
            error = pair.streams.get("error")
            if problem and error is not None:
                await error.write(problem.encode())
            for stream in pair.streams.values():
                await stream.close()
        except ConnectionError:
            # The client has dropped this connection; `run` notices by itself when it has gone altogether.
            pass
        finally:
            self._pairs.pop(pair_id, None)

    async def _carry(self, pair_id: str, pair: _Pair, port: int) -> str:
        try:
            async with asyncio.timeout(CREATION_SECONDS):
                await pair.complete.wait()
        except TimeoutError:
            return f"(request={pair_id}) timed out waiting for streams"
        return await forward_port(self._pod, port, pair.streams["data"], lambda: self._connect(port))


def _port(headers: Mapping[str, str]) -> int:
    """The port a stream is for, 0 when it names none."""
    text = headers.get("port", "")
    return int(text) if text.isascii() and text.isdecimal() and 0 < int(text) < 65536 else 0


def _pair_id(stream: SpdyStream, kind: str) -> str:
    """What makes two streams a pair; old clients do not say, but open error and data one after the other."""
    named = stream.headers.get("requestid")
    return named or str(stream.stream_id - (2 if kind == "data" else 0))
