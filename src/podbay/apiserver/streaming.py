"""Answers without a known end: the response of a watch or a log, opened in one place.

Here a stream is cut on purpose when a fault says so (faults/): the client sees a connection that breaks in the middle
of a chunk, as with a failing network.
"""

from __future__ import annotations

from aiohttp import HttpVersion11, web

from podbay.apiserver.request import Request

__all__ = ["open_stream"]


class _CutResponse(web.StreamResponse):
    """Sends so many bytes of its body and then breaks the connection."""

    def __init__(self, limit: int) -> None:
        super().__init__(status=200)
        self._left = limit

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        part = bytes(data)[: self._left]
        self._left -= len(part)
        if part:
            await super().write(part)
        if len(part) < len(data):
            assert self._req is not None
            if self._req.transport is not None:
                # close() sends what is buffered and then ends the connection without the final chunk.
                self._req.transport.close()
            raise ConnectionResetError("stream cut by a fault")


async def open_stream(raw: web.BaseRequest, request: Request, content_type: str) -> web.StreamResponse:
    """Send the headers of a chunked answer; the caller writes it and its end."""
    response = (
        web.StreamResponse(status=200) if request.cut_after is None else _CutResponse(request.cut_after)
    )
    response.headers["Content-Type"] = content_type
    response.headers["Cache-Control"] = "no-cache, private"
    if raw.version >= HttpVersion11:
        response.enable_chunked_encoding()
    else:
        # HTTP/1.0 knows no chunks: the end of the connection is the end of the stream.
        response.force_close()
    await response.prepare(raw)
    return response
