"""Speaking the Docker Engine API: one connection pool, one API version, one place where broken connections are named.

Not for deciding what an answer means: answers come back as values with their status, callers judge them. The version
is agreed on when opening, never fixed: new engines drop old versions (Docker 29 refuses those before 1.44) and old
engines refuse new ones. Specification: docs.docker.com/reference/api/engine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
import orjson

from podbay.errors import ClosedError, RuntimeUnavailableError
from podbay.node.engine.endpoint import Endpoint
from podbay.node.engine.hijack import Duplex, open_duplex

__all__ = ["Answer", "Engine", "Query", "negotiated"]

Query = Mapping[str, str | int]

_NEWEST = (1, 51)
"""What this code has been written for; a newer engine is asked to speak this."""
_OLDEST = (1, 24)
"""Spoken by all that say nothing of their version."""
_CALL_SECONDS = 180.0
"""No plain call takes longer unless the engine hangs; starting a container on a loaded machine takes seconds."""
_CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An engine's reply, whole."""

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        return self.status < 400

    @property
    def message(self) -> str:
        """The engine's words on a failure."""
        try:
            content = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return self.body[:1000].decode(errors="replace").strip() or f"HTTP status {self.status}"
        if isinstance(content, dict):
            return str(content.get("message") or content.get("cause") or f"HTTP status {self.status}").strip()
        return f"HTTP status {self.status}"

    def json(self) -> Any:
        return orjson.loads(self.body) if self.body.strip() else None


def negotiated(server: str, minimum: str) -> tuple[int, int]:
    """The version both sides speak: ours, or the engine's when that is older; never below its minimum."""
    return max(min(_NEWEST, _version(server) or _OLDEST), _version(minimum) or (0, 0))


def _version(text: str) -> tuple[int, int] | None:
    major, _, minor = text.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None


class Engine:
    """A connection to one engine, opened with `async with`. RuntimeUnavailableError comes from every method."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.version: dict[str, Any] = {}
        """The engine's answer to GET /version."""
        self.api = (0, 0)
        self._tls = endpoint.tls.context() if endpoint.tls else None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = (
            aiohttp.UnixConnector(path=self.endpoint.path, limit=0)
            if self.endpoint.path
            else aiohttp.TCPConnector(limit=0, ssl=self._tls or True)
        )
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        try:
            answer = await self._call("GET", "/version", timeout=_CONNECT_SECONDS * 2)
            if not answer.ok:
                raise RuntimeUnavailableError(f"{self._who()} does not answer as one: {answer.message}")
            self.version = answer.json()
            self.api = negotiated(self.version.get("ApiVersion", ""), self.version.get("MinAPIVersion", ""))
        except BaseException:
            await self._session.close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def podman(self) -> bool:
        """The engine is Podman, whose answers differ here and there."""
        return any(part.get("Name") == "Podman Engine" for part in self.version.get("Components") or ())

    async def get(self, path: str, query: Query | None = None) -> Answer:
        return await self.call("GET", path, query=query)

    async def find(self, path: str, query: Query | None = None) -> Any:
        """What is there as JSON, None when there is nothing."""
        answer = await self.get(path, query)
        if answer.ok:
            return answer.json()
        # Podman has 500 as well for what was removed while it looked.
        if answer.status == 404 or "no such" in answer.message.lower():
            return None
        # Anything else says nothing about whether it exists.
        raise RuntimeUnavailableError(f"{self._who()} does not answer GET {path}: {answer.message}")

    async def post(self, path: str, body: object = None, *, query: Query | None = None) -> Answer:
        return await self.call("POST", path, query=query, body=body)

    async def delete(self, path: str, query: Query | None = None) -> Answer:
        return await self.call("DELETE", path, query=query)

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: object = None,
        data: AsyncIterator[bytes] | bytes | None = None,
        timeout: float | None = _CALL_SECONDS,
    ) -> Answer:
        """Send body as JSON, or data as it is, and read the whole answer. timeout in seconds, None: none."""
        return await self._call(method, self._path(path), query=query, body=body, data=data, timeout=timeout)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Stream, None]:
        """An answer that is read as it comes."""
        try:
            async with self._open().request(
                method, self._url(self._path(path)), params=query, headers=headers, timeout=_limits(None)
            ) as response:
                yield Stream(self, response)
        except (aiohttp.ClientError, OSError) as error:
            raise self.lost(error) from error

    async def hijack(self, path: str, body: object = None) -> Duplex | Answer:
        """POST and keep the connection as a two-way stream; an Answer when the engine refuses."""
        target = self._path(path)
        try:
            payload = b"" if body is None else orjson.dumps(body)
            opened = await open_duplex(self.endpoint, self._tls, target, payload)
        except (TimeoutError, OSError, EOFError) as error:
            raise self.lost(error) from error
        return opened if isinstance(opened, Duplex) else Answer(*opened)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: object = None,
        data: AsyncIterator[bytes] | bytes | None = None,
        timeout: float | None = _CALL_SECONDS,
    ) -> Answer:
        headers = {"Content-Type": "application/x-tar" if data is not None else "application/json"}
        payload = data if data is not None else (orjson.dumps(body) if body is not None else None)
        if payload is None:
            headers = {}
        try:
            async with self._open().request(
                method,
                self._url(path),
                params=query,
                data=payload,
                headers=headers,
                timeout=_limits(timeout),
            ) as response:
                return Answer(response.status, await response.read())
        except (aiohttp.ClientError, OSError) as error:
            raise self.lost(error) from error

    def lost(self, error: BaseException) -> RuntimeUnavailableError:
        """The error for a connection that cannot be had or broke."""
        words = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        if isinstance(error, aiohttp.ClientConnectorError):
            words = error.os_error.strerror or words
            if isinstance(error.os_error, PermissionError):
                words = (
                    "permission denied; add yourself to the group that owns the socket (docker) or use sudo"
                )
        return RuntimeUnavailableError(f"{self._who()} cannot be reached: {words}")

    def _who(self) -> str:
        return f"the container engine at {self.endpoint} ({self.endpoint.origin})"

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            raise ClosedError("the container engine's client was used outside its `async with` block")
        return self._session

    def _path(self, path: str) -> str:
        return f"/v{self.api[0]}.{self.api[1]}{path}"

    def _url(self, path: str) -> str:
        if self.endpoint.path:
            return f"http://engine{path}"
        scheme = "https" if self._tls else "http"
        host = f"[{self.endpoint.host}]" if ":" in self.endpoint.host else self.endpoint.host
        return f"{scheme}://{host}:{self.endpoint.port}{path}"


class Stream:
    """The body of one answer, in pieces."""

    def __init__(self, engine: Engine, response: aiohttp.ClientResponse) -> None:
        self._engine = engine
        self._response = response
        self.status = response.status
        self.content_type = response.content_type

    async def answer(self) -> Answer:
        """Read all of it."""
        return Answer(self.status, await self._response.read())

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """As they arrive, each at least one byte."""
        async for chunk in self._response.content.iter_any():
            yield chunk

    def objects(self) -> Objects:
        """One JSON object a line."""
        return Objects(self._engine, self._response)


class Objects:
    """JSON objects as they arrive. The stream may be closed while `anext` waits; that ends it."""

    def __init__(self, engine: Engine, response: aiohttp.ClientResponse) -> None:
        self._engine = engine
        self._response = response
        self._lines: deque[bytes] = deque()
        self._rest = b""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        while not self._lines:
            try:
                chunk = await self._response.content.readany()
            except (aiohttp.ClientError, OSError) as error:
                raise self._engine.lost(error) from error
            if not chunk and not self._rest:
                raise StopAsyncIteration
            *lines, self._rest = (self._rest + chunk if chunk else self._rest + b"\n").split(b"\n")
            self._lines.extend(line for line in lines if line.strip())
        try:
            found: dict[str, Any] = orjson.loads(self._lines.popleft())
        except orjson.JSONDecodeError as error:
            raise self._engine.lost(error) from error
        return found

    def close(self) -> None:
        self._response.close()


def _limits(total: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=total, sock_connect=_CONNECT_SECONDS)
