"""/metrics and /healthz of the service, on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from podbay.errors import ConflictError

__all__ = ["serve"]


@asynccontextmanager
async def serve(port: int, metrics: Callable[[], str], ailment: Callable[[], str]) -> AsyncIterator[int]:
    """Serve on 127.0.0.1; gives the port. `ailment` says what is wrong, "" when nothing is. Port 0 takes any.

    Raises ConflictError for a port that is taken.
    """

    async def show(_: web.Request) -> web.Response:
        return web.Response(text=metrics(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def health(_: web.Request) -> web.Response:
        wrong = ailment()
        return web.Response(text=(wrong or "ok") + "\n", status=503 if wrong else 200)

    app = web.Application()
    app.add_routes([web.get("/metrics", show), web.get("/healthz", health)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        try:
            await site.start()
        except OSError as error:
            raise ConflictError(
                f"port {port} is taken; give another one with --metrics-port, or 0 for any"
            ) from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
