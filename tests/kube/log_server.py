"""A server of pod logs that misbehaves on demand: cuts at any byte, ends too early, forgets, refuses, rotates.

Serves as a kubelet does: stamps on demand, `sinceTime` in whole seconds, the head of an answer with its first byte.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web

from podbay.kube.config import ClusterConfig

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def stamp(ns: int) -> bytes:
    return f"{datetime.fromtimestamp(ns // SECOND, UTC):%Y-%m-%dT%H:%M:%S}.{ns % SECOND:09d}Z".encode()


@dataclass
class Written:
    """The log file of one run of a container."""

    lines: list[tuple[int, bytes]] = field(default_factory=list)
    ended: bool = False
    unended_line: bool = False
    """The last line has no newline."""
    excuse: bytes = b""
    """What the kubelet says in the place of the log."""
    unfollowed: bytes = b""
    """What it says after the lines that are there when somebody wants to follow."""

    def write(self, *texts: str | bytes, ns: int | None = None, step: int = 1_000_000) -> None:
        for text in texts:
            at = ns if ns is not None else (self.lines[-1][0] + step if self.lines else START)
            self.lines.append((at, text.encode() if isinstance(text, str) else text))

    def rotate(self, keep: int = 0) -> None:
        self.lines = self.lines[len(self.lines) - keep :]


@dataclass
class Mishap:
    """What befalls one request. cut_at counts bytes of the body; clean ends it as if that were all."""

    cut_at: int | None = None
    clean: bool = False
    status: int = 0
    message: str = ""
    delay: float = 0.0


class LogServer:
    def __init__(self) -> None:
        self.logs: dict[tuple[str, bool], Written] = {}
        self.mishaps: deque[Mishap] = deque()
        self.requests: list[dict[str, str]] = []
        self.always: Mishap | None = None
        self.open = 0
        self.most_open = 0
        self.changed = asyncio.Event()
        self.url = ""

    def touch(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def log(self, container: str = "main", *, previous: bool = False) -> Written:
        return self.logs.setdefault((container, previous), Written())

    @property
    def config(self) -> ClusterConfig:
        return ClusterConfig(server=self.url)

    @classmethod
    @asynccontextmanager
    async def start(cls) -> AsyncIterator[LogServer]:
        server = cls()
        runner = web.ServerRunner(web.Server(server._serve, handler_cancellation=True), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        server.url = f"http://127.0.0.1:{port}"
        try:
            yield server
        finally:
            await runner.cleanup()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(dict(request.query))
        mishap = self.mishaps.popleft() if self.mishaps else self.always or Mishap()
        if mishap.delay:
            await asyncio.sleep(mishap.delay)
        if mishap.status:
            status = {
                "kind": "Status",
                "code": mishap.status,
                "message": mishap.message or "refused by the test",
            }
            return web.json_response(status, status=mishap.status)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            return await self._send(request, mishap)
        finally:
            self.open -= 1

    async def _send(self, request: web.BaseRequest, mishap: Mishap) -> web.StreamResponse:
        query = request.query
        written = self.log(query["container"], previous=query.get("previous") == "true")
        since = 0
        if "sinceTime" in query:
            since = int(datetime.fromisoformat(query["sinceTime"]).timestamp()) * SECOND
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        budget = mishap.cut_at
        file, sent = written.lines, 0
        while True:
            changed = self.changed
            if written.lines is not file:
                file, sent = written.lines, 0
            follows = query.get("follow") == "true"
            over = written.ended or not follows or bool(written.excuse or written.unfollowed)
            fresh = file[sent:]
            sent += len(fresh)
            data = b"".join(stamp(ns) + b" " + text + b"\n" for ns, text in fresh if ns >= since)
            if over and written.unended_line:
                data = data.removesuffix(b"\n")
            data = written.excuse or data + (written.unfollowed if follows else b"")
            cut = budget is not None and len(data) >= budget
            if cut:
                data = data[:budget]
            if data or over or cut:
                if not response.prepared:
                    await response.prepare(request)
                await response.write(data)
            if budget is not None:
                budget -= len(data)
            if cut and not mishap.clean:
                assert request.transport is not None
                # What has been written goes out, then the connection breaks without the end of the body.
                request.transport.close()
                await asyncio.sleep(0)
                raise ConnectionResetError
            if cut or over:
                await response.write_eof()
                return response
            await changed.wait()


def pod(
    *containers: str, state: str = "running", phase: str = "Running", uid: str = "u1", restarts: int = 0
) -> dict[str, object]:
    """A pod whose containers are all in one state."""
    statuses = []
    for name in containers or ("main",):
        ids = [f"test://{number:06d}{name:x<6.6}" for number in range(restarts + 1)]
        status: dict[str, object] = {"name": name, "restartCount": restarts, "containerID": ids[-1]}
        now: dict[str, object] = {"containerID": ids[-1]} if state == "terminated" else {}
        status["state"] = {state: now}
        if restarts:
            status["lastState"] = {"terminated": {"containerID": ids[-2]}}
        statuses.append(status)
    return {
        "metadata": {"name": "p", "namespace": "n", "uid": uid},
        "status": {"phase": phase, "containerStatuses": statuses},
    }


def ended_pod(*containers: str, **options: object) -> dict[str, object]:
    return pod(*containers, state="terminated", phase="Succeeded", **options)  # type: ignore[arg-type]
