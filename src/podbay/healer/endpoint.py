"""/metrics, /healthz and /livez of the service; on loopback, where nobody says otherwise."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from podbay.errors import ConflictError

__all__ = ["LOOPBACK", "serve"]

LOOPBACK: Final = "127.0.0.1"


@asynccontextmanager
async def serve(
    port: int,
    metrics: Callable[[], str],
    ailment: Callable[[], str],
    hang: Callable[[], str] = lambda: "",
    *,
    address: str = LOOPBACK,
) -> AsyncIterator[int]:
    """Gives the port; port 0 takes any. `ailment` says what is wrong, "" when nothing is, and `hang` what of that a new
    process would mend.

    Raises ConflictError for a port that is taken, and for an address that is not this machine's.
    """

    async def show(_: web.Request) -> web.Response:
        return web.Response(text=metrics(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def health(_: web.Request) -> web.Response:
        return _answer(ailment())

    async def alive(_: web.Request) -> web.Response:
        return _answer(hang())

    app = web.Application()
    app.add_routes([web.get("/metrics", show), web.get("/healthz", health), web.get("/livez", alive)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address, port)
        try:
            await site.start()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ConflictError(
                    f"port {port} is taken; give another one with --metrics-port, or 0 for any"
                ) from error
            raise ConflictError(
                f"--metrics-address {address}: cannot listen there on port {port}: {error.strerror or error}"
            ) from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _answer(wrong: str) -> web.Response:
    return web.Response(text=(wrong or "ok") + "\n", status=503 if wrong else 200)
