"""The wire: TLS, HTTP, streaming of watches. The only module of the API server that knows aiohttp (with streaming/).

A request is read whole (limit as kube-apiserver), authenticated, handed to the Dispatcher, and its result encoded.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import parse_qs, unquote

from aiohttp import web

from podbay.apiserver import encode, status
from podbay.apiserver.auth.authenticate import fold_headers
from podbay.apiserver.auth.certificates import CertificateSubject
from podbay.apiserver.auth.impersonate import impersonate
from podbay.apiserver.connections import Connections
from podbay.apiserver.dispatch import not_found_page
from podbay.apiserver.faults.gate import EXTENSIONS, FaultGate
from podbay.apiserver.measuring import measure
from podbay.apiserver.metrics import Metrics
from podbay.apiserver.request import Request, parse_request_info
from podbay.apiserver.result import MeasuredResult, PlainResult, StreamResult, WatchResult
from podbay.apiserver.watching import serve_watch
from podbay.errors import ApiError, ConflictError, StateError

if TYPE_CHECKING:
    from podbay.apiserver.core import Core
    from podbay.apiserver.dispatch import Dispatcher

__all__ = ["Extension", "HttpServer", "StreamServer", "read_body"]

logger = logging.getLogger(__name__)

BODY_LIMIT = 3 * 1024 * 1024
"""Bytes a request body may have (kube-apiserver: MaxRequestBodyBytes)."""
BODY_TIMEOUT = 60.0
"""Seconds a client may take to send a body; a slower one gets 408 and loses the connection."""
SHUTDOWN_SECONDS = 2.0
_CLIENT_GONE = 499
"""Never sent: aiohttp wants a response from every handler."""

StreamServer = Callable[[web.BaseRequest, Request, StreamResult], Awaitable[web.StreamResponse]]


Extension = Callable[[web.BaseRequest, Request], Awaitable[web.StreamResponse | PlainResult | None]]
"""Serves paths under /podbay.dev/; None when a path is not its own. It reads the body itself (read_body)."""


class HttpServer:
    """Serves one Dispatcher on one address. Use with `async with`; `port` is known inside."""

    def __init__(
        self,
        core: Core,
        dispatcher: Dispatcher,
        *,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        streams: StreamServer,
        metrics: Metrics,
        faults: FaultGate,
        extensions: Sequence[Extension] = (),
    ) -> None:
        self._core, self._dispatcher = core, dispatcher
        self._host, self._wanted_port, self._tls = host, port, tls
        self._streams, self._metrics = streams, metrics
        self._faults, self._extensions = faults, extensions
        self._connections = Connections(self._serve)
        self._runner: web.ServerRunner | None = None
        self._endless: set[asyncio.Task[object]] = set()
        """Handlers of watches and streams, which a stopping server need not wait for."""
        self.port = 0

    async def __aenter__(self) -> HttpServer:
        runner = web.ServerRunner(self._connections, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        site = web.TCPSite(
            runner,
            self._host,
            self._wanted_port,
            ssl_context=self._tls,
            backlog=1024,
        )
        try:
            await site.start()
        except OSError as err:
            await runner.cleanup()
            raise ConflictError(
                f"cannot listen on {self._host}:{self._wanted_port}: {os.strerror(err.errno or 0)}. "
                "Stop what uses the port or choose another with --port (0 picks a free one)."
            ) from err
        sockets = site._server.sockets  # type: ignore[union-attr]
        self.port = sockets[0].getsockname()[1]
        self._runner = runner
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            for task in self._endless:
                task.cancel()
            await self._runner.cleanup()
            await self._connections.drop()
            self._runner = None

    async def _serve(self, raw: web.BaseRequest) -> web.StreamResponse:
        request = Request(raw.method, "", headers=fold_headers(raw.headers.items()))
        try:
            path, _, query = raw.raw_path.partition("?")
            request.path = _decode_path(path)
            request.query = parse_qs(query, keep_blank_values=True)
            request.user = await self._core.authenticator.identify(request.headers, _peer(raw))
            if request.path.startswith(EXTENSIONS):
                response = await self._extend(raw, request)
            else:
                request.body = await read_body(raw)
                if not await self._faults.before(request):
                    _drop(raw)
                response = await self._answer(raw, request)
        except ApiError as err:
            response = self._refuse(request, err)
        except StateError as err:
            # The state file failed (disk full, damaged): nothing was written, and the client is told what to do.
            logger.error("%s %s: %s", raw.method, request.path, err)
            response = self._refuse(request, status.internal_error(str(err)))
        except ConnectionError:
            # The client is gone, or a fault cut it off: nobody is left to answer, and it is no error of ours.
            return web.Response(status=_CLIENT_GONE)
        except asyncio.CancelledError:
            raise
        except Exception:
            # The last line of defence: one request fails, the server lives on, and the log says why.
            logger.exception("request failed: %s %s", raw.method, request.path)
            response = self._refuse(request, status.internal_error("see the server's log"))
        self._metrics.count_request(request.method, response.status)
        return response

    async def _answer(self, raw: web.BaseRequest, request: Request) -> web.StreamResponse:
        result = self._dispatcher.handle(request)
        if not self._faults.after(request):
            _drop(raw)
        if isinstance(result, MeasuredResult):
            result = await measure(self._core, result)
        if not isinstance(result, WatchResult | StreamResult):
            return _respond(encode.encode(self._core, result, request))
        task = asyncio.current_task()
        assert task is not None
        self._endless.add(task)
        try:
            if isinstance(result, StreamResult):
                return await self._streams(raw, request, result)
            lines = encode.line_encoder(self._core, request, result.type)
            return await serve_watch(self._core, raw, request, result, lines=lines)
        finally:
            self._endless.discard(task)

    async def _extend(self, raw: web.BaseRequest, request: Request) -> web.StreamResponse:
        """Paths of our own, which no Kubernetes has; authorised as non-resource URLs."""
        info, authorizer = parse_request_info(request), self._core.authorizer
        request.user = impersonate(request.user, request.headers, info, authorizer)
        authorizer.require(request.user, info)
        for extension in self._extensions:
            answer = await extension(raw, request)
            if isinstance(answer, PlainResult):
                return _respond(encode.encode(self._core, answer, request))
            if answer is not None:
                return answer
        return _respond(encode.encode(self._core, not_found_page(), request))

    def _refuse(self, request: Request, err: ApiError) -> web.Response:
        response = _respond(encode.encode_error(request, err))
        if err.retry_after_seconds:
            response.headers["Retry-After"] = str(err.retry_after_seconds)
        if err.code == 401:
            response.headers["WWW-Authenticate"] = 'Bearer realm="kubernetes"'
        return response


def _drop(raw: web.BaseRequest) -> NoReturn:
    """Break the connection without an answer, as a fault asks."""
    if raw.transport is not None:
        raw.transport.abort()
    raise ConnectionResetError("dropped by a fault")


def _respond(encoded: encode.Encoded) -> web.Response:
    response = web.Response(status=encoded.status, body=encoded.body)
    headers = response.headers
    if encoded.status != 304:
        # A client's cache takes the headers of a 304 for the stored answer, whose type is another.
        headers["Content-Type"] = encoded.content_type
    headers["Cache-Control"] = "no-cache, private"
    for name, value in encoded.headers.items():
        headers[name] = value
    for text in encoded.warnings:
        headers.add("Warning", f'299 - "{_warning_text(text)}"')
    return response


def _warning_text(text: str) -> str:
    """Warning header text: quoted-string escapes, no control characters (RFC 7234 5.5)."""
    printable = "".join(ch if ch.isprintable() else " " for ch in text)
    return printable.replace("\\", "\\\\").replace('"', '\\"').encode("ascii", "backslashreplace").decode()


def _decode_path(path: str) -> str:
    try:
        return unquote(path, errors="strict")
    except UnicodeDecodeError as err:
        raise status.bad_request("invalid URL escape in the request path") from err


def _peer(raw: web.BaseRequest) -> CertificateSubject | None:
    """The subject of the client certificate that TLS has verified."""
    transport = raw.transport
    channel = transport.get_extra_info("ssl_object") if transport is not None else None
    der = channel.getpeercert(binary_form=True) if channel is not None else None
    return CertificateSubject.of_der(der) if der else None


async def read_body(raw: web.BaseRequest) -> bytes:
    if not raw.can_read_body or raw.headers.get("Upgrade"):
        return b""
    if (raw.content_length or 0) > BODY_LIMIT:
        raise status.request_entity_too_large(f"limit is {BODY_LIMIT}")
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in raw.content.iter_any():
                size += len(chunk)
                if size > BODY_LIMIT:
                    raise status.request_entity_too_large(f"limit is {BODY_LIMIT}")
                chunks.append(chunk)
    except web.RequestPayloadError as err:
        raise status.bad_request(
            "the request body ended before it was whole, or its chunks are broken"
        ) from err
    except TimeoutError as err:
        raise status.timeout(f"the request body did not arrive within {BODY_TIMEOUT:.0f} seconds") from err
    return b"".join(chunks)
