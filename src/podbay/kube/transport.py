"""HTTP to one API server. The only file of the client that knows the HTTP library; its errors end here.

Requests and streams have connection pools of their own, so that a thousand followed logs never keep a delete waiting.
aiohttp is used directly and not through kubernetes_asyncio: its config module alone imports the whole model layer
(839 modules; 74 MB instead of 34 MB), and its exec support has neither a cache nor client certificates
(docs/architecture.md).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import urllib.request
import weakref
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from podbay.errors import ClosedError, UnreachableError
from podbay.kube.auth import Issued
from podbay.kube.config import ClusterConfig
from podbay.kube.messages import HttpAnswer, HttpRequest, api_error, impersonation_headers
from podbay.kube.tls import TlsContexts

if TYPE_CHECKING:
    import aiohttp

__all__ = ["HttpSocket", "HttpStream", "Transport", "translate"]

CONNECT_SECONDS = 10.0
"""TCP and TLS together; another continent takes one."""
STREAM_BUFFER = 64 << 10
"""Bytes a stream may be ahead of its reader; beyond twice that the server is held up."""
ERROR_BODY_LIMIT = 1 << 20
CLOSING_TURNS = 50
"""Times 5 ms that closing connections may take at the end."""
_KEEPALIVE = (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4))
"""A peer that vanished without a word is noticed after 40 s, at no request's expense."""


class HttpStream:
    """An answer that is read as it comes."""

    def __init__(self, response: aiohttp.ClientResponse, server: str) -> None:
        self._response = response
        self._server = server
        self.status = response.status
        self.headers = _headers(response)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Bytes as they arrive; ends when the server ended the answer properly. Raises UnreachableError otherwise."""
        import aiohttp

        read = self._response.content.readany
        while True:
            try:
                chunk = await read()
            except (aiohttp.ClientError, OSError) as err:
                raise translate(err, self._server, sent=True) from err
            if not chunk:
                return
            yield chunk

    async def body(self) -> bytes:
        """The rest of an error's answer, up to a limit."""
        kept = b""
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                kept += chunk
                if len(kept) > ERROR_BODY_LIMIT:
                    break
        return kept


class HttpSocket:
    """A WebSocket of binary messages."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, server: str) -> None:
        self._socket = socket
        self._server = server
        self.protocol = socket.protocol or ""

    async def receive(self) -> bytes | None:
        """The next message; None once the server has closed it. Raises UnreachableError when it broke."""
        import aiohttp

        message = await self._socket.receive()
        if message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT):
            return message.data if isinstance(message.data, bytes) else message.data.encode()
        if message.type is aiohttp.WSMsgType.ERROR or self._socket.close_code == 1006:
            raise UnreachableError("broken", f"API server {self._server}: the session broke", maybe_sent=True)
        return None

    async def send(self, message: bytes) -> None:
        """Raises UnreachableError when it is closed or breaks."""
        import aiohttp

        try:
            await self._socket.send_bytes(message)
        except (aiohttp.ClientError, OSError) as err:
            raise translate(err, self._server, sent=True) from err


class Transport:
    """Use with `async with`. Sends what it is given and knows nothing of retries."""

    def __init__(self, config: ClusterConfig, *, agent: str, connections: int = 32) -> None:
        self._config = config
        self._agent = agent
        self._connections = connections
        self._tls = TlsContexts(config)
        self._proxy = config.proxy_url or _environment_proxy(config.server)
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._unary: aiohttp.ClientSession | None = None
        self._streams: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        import aiohttp

        def session(limit: int, buffer: int) -> aiohttp.ClientSession:
            # Cookies of a load balancer would be sent to another API server; proxies are looked up by ourselves,
            # because trust_env also sends passwords from ~/.netrc.
            made = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=limit, keepalive_timeout=60.0, socket_factory=self._open_socket
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=buffer,
                headers={"User-Agent": self._agent},
            )
            # aiohttp repeats PUT and DELETE by itself when a kept connection breaks, and then a 404 for a delete that
            # took effect looks like a first answer. Who repeats must know (retry.py); there is no public switch.
            made._retry_connection = False
            return made

        self._unary = session(self._connections, 256 << 10)
        self._streams = session(0, STREAM_BUFFER)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        sessions, self._unary, self._streams = (self._unary, self._streams), None, None
        for session in sessions:
            if session is not None:
                await session.close()
        await self._close_sockets()

    async def _close_sockets(self) -> None:
        """TLS says goodbye in the background; see that it has come to an end before the event loop may."""
        for opened in self._sockets:
            try:
                opened.shutdown(socket.SHUT_RDWR)
            except OSError:
                # Closed already, which is what is wanted.
                pass
        for _ in range(CLOSING_TURNS):
            if all(opened.fileno() < 0 for opened in self._sockets):
                return
            await asyncio.sleep(0.005)
        for opened in self._sockets:
            # Left behind by a connection that was given up while it was made.
            opened.close()

    def _open_socket(self, address: tuple[Any, ...]) -> socket.socket:
        opened = _open_socket(address)
        self._sockets.add(opened)
        return opened

    async def exchange(self, request: HttpRequest, issued: Issued, *, seconds: float) -> HttpAnswer:
        """Send and read the whole answer within seconds. Raises UnreachableError."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS)
        try:
            async with self._request(self._unary, request, issued, timeout) as response:
                body = await response.read()
                return HttpAnswer(response.status, _headers(response), body)
        except (aiohttp.ClientError, OSError) as err:
            raise translate(err, self._config.server, sent=True) from err

    @asynccontextmanager
    async def stream(
        self,
        request: HttpRequest,
        issued: Issued,
        *,
        answer_seconds: float | None,
        silence_seconds: float | None,
    ) -> AsyncIterator[HttpStream]:
        """Send, wait at most answer_seconds for the head of the answer, and give its body as a stream.

        silence_seconds is how long nothing may arrive before the reader gets UnreachableError. None means for ever:
        a kubelet sends the head of a followed log together with its first line.
        """
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=silence_seconds)
        opening = self._request(self._streams, request, issued, timeout)
        try:
            async with asyncio.timeout(answer_seconds):
                response = await opening
        except (aiohttp.ClientError, OSError) as err:
            raise translate(err, self._config.server, sent=True) from err
        try:
            yield HttpStream(response, self._config.server)
        finally:
            _leave(response)

    @asynccontextmanager
    async def websocket(
        self, path: str, issued: Issued, *, protocols: tuple[str, ...]
    ) -> AsyncIterator[HttpSocket]:
        """A WebSocket that speaks one of the subprotocols. Raises ApiError when it is refused, UnreachableError."""
        import aiohttp
        import yarl

        if self._streams is None:
            raise ClosedError("the connection to the cluster is used outside its `async with` block")
        context = self._tls.context(issued.certificate)
        try:
            async with asyncio.timeout(CONNECT_SECONDS * 3):
                opened = await self._streams.ws_connect(
                    yarl.URL(self._config.server + path, encoded=True),
                    protocols=protocols,
                    headers=[*issued.headers, *impersonation_headers(self._config.impersonation)],
                    ssl=context if context is not None else True,
                    server_hostname=self._config.tls_server_name or None,
                    proxy=self._proxy or None,
                    max_msg_size=0,
                )
        except aiohttp.WSServerHandshakeError as err:
            headers = {name.lower(): value for name, value in (err.headers or {}).items()}
            raise api_error(err.status, headers, b"") from err
        except (aiohttp.ClientError, OSError) as err:
            raise translate(err, self._config.server, sent=True) from err
        try:
            yield HttpSocket(opened, self._config.server)
        finally:
            await opened.close()

    def _request(
        self,
        session: aiohttp.ClientSession | None,
        request: HttpRequest,
        issued: Issued,
        timeout: aiohttp.ClientTimeout,
    ) -> Any:
        if session is None:
            raise ClosedError("the connection to the cluster is used outside its `async with` block")
        import yarl

        headers = [*request.headers.items(), *issued.headers]
        context = self._tls.context(issued.certificate)
        return session.request(
            request.method,
            yarl.URL(self._config.server + request.path, encoded=True),
            headers=headers + impersonation_headers(self._config.impersonation),
            data=request.body,
            ssl=context if context is not None else True,
            server_hostname=self._config.tls_server_name or None,
            proxy=self._proxy or None,
            timeout=timeout,
            allow_redirects=False,
        )


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _leave(response: aiohttp.ClientResponse) -> None:
    """Close the connection unless the answer was read to its end."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        # A polite end of TLS waits up to 30 s for a server that may be the reason for leaving.
        connection.transport.abort()
    response.close()


def _open_socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol = address[:3]
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    except OSError:
        # A platform without these options loses an early notice, nothing more.
        pass
    return opened


def _environment_proxy(server: str) -> str:
    """The proxy that $HTTPS_PROXY and $NO_PROXY say for the server, as Go's client reads them."""
    parts = urlsplit(server)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return ""
    proxy = urllib.request.getproxies().get(parts.scheme, "")
    return proxy if proxy.startswith(("http://", "https://")) else ""


def translate(error: BaseException, server: str, *, sent: bool) -> BaseException:
    """A failure of the HTTP library or the network as UnreachableError; others are given back as they are.

    sent tells whether the request could have left at all; failures to connect know better.
    """
    import aiohttp

    at = f"API server {server}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
        return UnreachableError(
            "tls",
            f"{at}: its certificate cannot be verified ({reason}). Take certificate-authority-data from the cluster's "
            "current kubeconfig; a cluster that was made anew has a new one.",
            permanent=True,
        )
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return UnreachableError(
            "dns", f"{at}: the name {error.host} is not known here. Check server and network."
        )
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return UnreachableError("refused", f"{at}: the proxy answered {error.status} and did not connect")
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return UnreachableError("refused", f"{at}: the proxy {error.host}:{error.port} cannot be reached")
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return UnreachableError("tls", f"{at}: TLS failed ({_words(error)}). Does the port speak https?")
    if isinstance(error, aiohttp.ClientConnectorError):
        return UnreachableError(
            "refused", f"{at}: no connection ({error.os_error.strerror or error.os_error})"
        )
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return UnreachableError("timeout", f"{at}: no connection within {CONNECT_SECONDS:.0f} s")
    if isinstance(error, TimeoutError):
        return UnreachableError("silent", f"{at}: no answer in time; the connection is up", maybe_sent=sent)
    if isinstance(error, aiohttp.ClientError | OSError | ssl.SSLError):
        return UnreachableError("broken", f"{at}: the connection broke ({_words(error)})", maybe_sent=sent)
    return error


def _words(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) <= 200 else text[:200] + "…"
