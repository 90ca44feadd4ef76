"""A connection to the engine that stops being HTTP: the streams of exec and attach.

The HTTP client is not used for it: it offers neither half-close nor flow control once a connection is taken over.
Specification: "Stream details" of POST /containers/{id}/attach in the Docker Engine API.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Literal

from podbay.node.engine.endpoint import Endpoint

__all__ = ["Duplex", "Piece", "open_duplex", "read_frame"]

Piece = tuple[Literal["stdout", "stderr"], bytes]

_OPEN_SECONDS = 60.0
"""An exec on a loaded machine takes seconds to begin."""
_HEAD_LIMIT = 1 << 16
_CHUNK = 1 << 16


class Duplex:
    """Raw bytes both ways. After `aclose`, reading gives the end and writing does nothing."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def ended(self) -> bool:
        """The other side has closed and all of it has been read."""
        return self._reader.at_eof() or self._writer.is_closing()

    async def read(self) -> bytes:
        """The next bytes, empty at the end, which a broken connection is too."""
        try:
            return await self._reader.read(_CHUNK)
        except OSError:
            return b""

    async def read_exactly(self, size: int) -> bytes:
        """Fewer than size bytes only at the end."""
        try:
            return await self._reader.readexactly(size)
        except asyncio.IncompleteReadError as error:
            return error.partial
        except OSError:
            return b""

    async def write(self, data: bytes) -> None:
        """Waits while the other side does not read; does nothing once it has closed."""
        if self._writer.is_closing():
            return
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError:
            pass

    async def close_write(self) -> None:
        """Tell the other side that no more comes. Over TLS that cannot be told, so nothing happens there."""
        if not self._writer.is_closing() and self._writer.can_write_eof():
            try:
                self._writer.write_eof()
            except OSError:
                pass

    async def aclose(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            pass


async def read_frame(duplex: Duplex) -> Piece | None:
    """The next of the engine's frames (stream number, three zero bytes, length, data); None at the end."""
    head = await duplex.read_exactly(8)
    if len(head) < 8:
        return None
    size = int.from_bytes(head[4:], "big")
    data = await duplex.read_exactly(size)
    return ("stderr" if head[0] == 2 else "stdout", data) if len(data) == size else None


async def open_duplex(
    endpoint: Endpoint, tls: ssl.SSLContext | None, target: str, body: bytes
) -> Duplex | tuple[int, bytes]:
    """POST body to target and take the connection over; status and body when that is refused. Raises OSError, EOFError."""
    async with asyncio.timeout(_OPEN_SECONDS):
        if endpoint.path:
            reader, writer = await asyncio.open_unix_connection(endpoint.path, limit=_HEAD_LIMIT)
        else:
            reader, writer = await asyncio.open_connection(
                endpoint.host, endpoint.port, ssl=tls, limit=_HEAD_LIMIT
            )
        try:
            writer.write(_request(endpoint, target, body))
            await writer.drain()
            status, headers = await _head(reader)
            if status in (101, 200):
                return Duplex(reader, writer)
            answer = status, await _body(reader, headers)
        except BaseException:
            writer.close()
            raise
    writer.close()
    return answer


def _request(endpoint: Endpoint, target: str, body: bytes) -> bytes:
    lines = (
        f"POST {target} HTTP/1.1",
        f"Host: {endpoint.host or 'engine'}",
        "Connection: Upgrade",
        "Upgrade: tcp",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise EOFError("it does not answer in HTTP") from error
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[1].isdigit():
        raise EOFError("it does not answer in HTTP")
    pairs = (line.partition(":") for line in lines if line)
    return int(words[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "") != "chunked":
        return await reader.readexactly(int(headers.get("content-length") or 0))
    body = b""
    while size := int((await reader.readline()).split(b";")[0].strip() or b"0", 16):
        body += (await reader.readexactly(size + 2))[:size]
    return body
