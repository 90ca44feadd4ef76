"""Connections below the requests: who may keep one open without saying anything, and what is no HTTP at all.

Not for requests that could be read (http.py). Limits and words are those of Go's net/http as kube-apiserver sets it
up (k8s.io/apiserver/pkg/server/secure_serving.go: ReadHeaderTimeout, IdleTimeout, MaxHeaderBytes).
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web
from aiohttp.http_exceptions import LineTooLong

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.streams import StreamReader

__all__ = ["Connections"]

logger = logging.getLogger(__name__)

HEADER_SECONDS = 32.0
"""How long a client may take to send the head of its first request (Go: ReadHeaderTimeout)."""
IDLE_SECONDS = 90.0
"""How long a connection may stay without a further request (Go: IdleTimeout)."""
READ_BYTES = 32 * 1024
"""Most bytes taken from a socket at once: two TLS records."""
HEADER_LIMIT = 1 << 20
"""Bytes of one header line (Go: DefaultMaxHeaderBytes)."""


class _Request(web.BaseRequest):
    """Gives every answer to it, also an upgrade and a stream, the headers that all of them have."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        # A client that numbers its requests finds its own number in the answer.
        response.headers["Audit-Id"] = self.headers.get("Audit-ID") or str(uuid.uuid4())
        # kube-apiserver does not name what it is made of.
        response.headers.popall(hdrs.SERVER, None)


class _Connection(web.RequestHandler):
    """One connection of a client."""

    __slots__ = ("_open", "_patience", "_wire")
    _open: set[asyncio.Transport]
    _patience: asyncio.TimerHandle
    _wire: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        _spare_memory(transport)
        assert isinstance(transport, asyncio.Transport)
        self._wire = transport
        self._open.add(transport)
        self._patience = asyncio.get_running_loop().call_later(HEADER_SECONDS, self._give_up)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._patience.cancel()
        self._open.discard(self._wire)
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if not self._request_count:
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What was sent is no HTTP: the client's fault, so not an error of the server's log."""
        if status != 400:
            return super().handle_error(request, status, exc, message)
        logger.info("refused a request that is not HTTP: %s", type(exc).__name__)
        words = "431 Request Header Fields Too Large" if isinstance(exc, LineTooLong) else "400 Bad Request"
        response = web.Response(status=int(words[:3]), text=words)
        response.force_close()
        return response


def _spare_memory(transport: asyncio.BaseTransport) -> None:
    """Give an idle watch a small buffer: asyncio keeps 256 KiB for each TLS connection, 2.5 GB for 10,000 watches.

    The attributes are asyncio's own (asyncio/sslproto.py); where they are called otherwise nothing happens.
    """
    protocol = getattr(transport, "_ssl_protocol", None)
    if protocol is not None and isinstance(getattr(protocol, "_ssl_buffer", None), bytearray):
        protocol.max_size = READ_BYTES
        protocol._ssl_buffer = bytearray(READ_BYTES)
        protocol._ssl_buffer_view = memoryview(protocol._ssl_buffer)


class Connections(web.Server):
    """Makes a connection for each client; every request that can be read goes to the handler."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        self._options: dict[str, Any] = {
            "max_line_size": HEADER_LIMIT,
            "max_field_size": HEADER_LIMIT,
            "access_log": None,
            # kube-apiserver reads bodies as they come, whatever Content-Encoding says; it also spares us bombs.
            "auto_decompress": False,
            "keepalive_timeout": IDLE_SECONDS,
        }
        super().__init__(handler, handler_cancellation=True, **self._options)
        self._open: set[asyncio.Transport] = set()

    def __call__(self) -> _Connection:
        connection = _Connection(self, loop=self._loop, **self._options)
        connection._open = self._open
        return connection

    def _make_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        return _Request(message, payload, protocol, writer, task, self._loop)

    async def drop(self) -> None:
        """End what is still open: TLS says goodbye for up to 30 seconds, and a client may never answer."""
        for transport in tuple(self._open):
            transport.abort()
        for _ in range(100):
            if not self._open:
                return
            await asyncio.sleep(0)
