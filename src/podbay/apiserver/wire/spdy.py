"""The server's side of one SPDY/3.1 connection: streams that the client opens, over any two-way stream of bytes.

A stream that nobody reads holds the whole connection up once its buffer is full, as in the implementation Kubernetes
uses: SPDY peers there know no windows, so the connection is all that can push back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from podbay.apiserver.wire.duplex import Duplex
from podbay.apiserver.wire.inbox import Inbox
from podbay.apiserver.wire.spdy_frames import (
    CANCEL,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    DataFrame,
    FrameReader,
    FrameWriter,
    GoAwayFrame,
    PingFrame,
    ResetFrame,
    StreamFrame,
)

__all__ = ["SpdyConnection", "SpdyStream"]

_MOST_STREAMS = 2000
"""Open streams of one connection; more are refused."""
_PIECE = 64 * 1024


class SpdyStream:
    """One stream, opened by the client."""

    def __init__(self, connection: SpdyConnection, stream_id: int, headers: Mapping[str, str]) -> None:
        self._connection = connection
        self.stream_id = stream_id
        self.headers = headers
        self.inbox = Inbox()
        self._finished = False

    async def read(self) -> bytes:
        """What has arrived, at least one byte; b"" after the last. ConnectionResetError when it was cut off."""
        return await self.inbox.read()

    async def write(self, data: bytes) -> None:
        """Raises ConnectionError when the client has reset the stream or gone."""
        for start in range(0, len(data), _PIECE):
            if self.inbox.lost or self._finished:
                raise ConnectionResetError("the stream is closed")
            await self._connection.send_data(self, data[start : start + _PIECE])

    async def close(self) -> None:
        """Send no more. What the client still sends is dropped."""
        self.inbox.drop()
        await self.close_write()

    async def close_write(self) -> None:
        """Send no more, go on reading."""
        if not self._finished and not self.inbox.lost:
            self._finished = True
            await self._connection.send_data(self, b"", fin=True)
        self._connection.forget_if_over(self)

    @property
    def over(self) -> bool:
        """Nothing more can come or go."""
        return self.inbox.lost or (self.inbox.ended and self._finished)


class SpdyConnection:
    """Reads frames and hands streams on. `serve` runs while the connection is used; one task each."""

    def __init__(self, wire: Duplex, accept: Callable[[SpdyStream], bool]) -> None:
        """accept is called for every stream the client opens; False refuses it."""
        self._wire, self._accept = wire, accept
        self._reader, self._writer = FrameReader(), FrameWriter()
        self._streams: dict[int, SpdyStream] = {}
        self._last_id = 0
        self.closed = False
        """The client is gone, and with it every stream."""

    async def serve(self) -> None:
        """Until the client goes away, says so, or breaks the protocol (ConnectionError)."""
        try:
            while data := await self._wire.read():
                for frame in self._reader.feed(data):
                    if isinstance(frame, DataFrame):
                        await self._on_data(frame)
                    elif isinstance(frame, StreamFrame):
                        await self._on_stream(frame)
                    elif isinstance(frame, ResetFrame):
                        self._on_reset(frame)
                    elif isinstance(frame, PingFrame):
                        # Even ids would answer pings of ours.
                        if frame.ping_id % 2:
                            await self._wire.write(self._writer.ping(frame.ping_id))
                    elif isinstance(frame, GoAwayFrame):
                        return
        finally:
            self.closed = True
            for stream in self._streams.values():
                stream.inbox.lose()
            self._streams.clear()

    async def send_data(self, stream: SpdyStream, data: bytes, *, fin: bool = False) -> None:
        await self._wire.write(self._writer.data(stream.stream_id, data, fin=fin))

    async def ping(self) -> None:
        """Something to send, so that a client that vanished is found out by TCP."""
        await self._wire.write(self._writer.ping(2))

    async def go_away(self) -> None:
        """Tell the client that no further stream will be accepted."""
        await self._wire.write(self._writer.go_away(self._last_id))

    def forget_if_over(self, stream: SpdyStream) -> None:
        """Called whenever a half of the stream was closed."""
        if stream.over:
            self._streams.pop(stream.stream_id, None)

    async def _on_stream(self, frame: StreamFrame) -> None:
        if frame.stream_id <= self._last_id or frame.stream_id % 2 == 0:
            await self._wire.write(self._writer.reset(frame.stream_id, PROTOCOL_ERROR))
            return
        self._last_id = frame.stream_id
        stream = SpdyStream(self, frame.stream_id, frame.headers)
        if len(self._streams) >= _MOST_STREAMS:
            await self._wire.write(self._writer.reset(frame.stream_id, REFUSED_STREAM))
            return
        if not self._accept(stream):
            await self._wire.write(self._writer.reset(frame.stream_id, CANCEL))
            return
        self._streams[frame.stream_id] = stream
        if frame.fin:
            stream.inbox.end()
        await self._wire.write(self._writer.reply(frame.stream_id))

    async def _on_data(self, frame: DataFrame) -> None:
        stream = self._streams.get(frame.stream_id)
        if stream is not None:
            await stream.inbox.take(frame.data)
            if frame.fin:
                stream.inbox.end()
            self.forget_if_over(stream)

    def _on_reset(self, frame: ResetFrame) -> None:
        stream = self._streams.pop(frame.stream_id, None)
        if stream is not None:
            stream.inbox.lose()
