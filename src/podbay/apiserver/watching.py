"""A granted watch over HTTP: one line of JSON (or frame of protobuf) an event, bookmarks, an end after its time-out."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from aiohttp import web

from podbay.apiserver.request import Request
from podbay.apiserver.result import WatchResult
from podbay.apiserver.streaming import open_stream

if TYPE_CHECKING:
    from podbay.apiserver.core import Core
    from podbay.apiserver.encode import Lines
    from podbay.apiserver.storage import Change, Watcher

__all__ = ["open_watcher", "serve_watch"]

MIN_TIMEOUT = 1800.0
"""Seconds a watch lasts at least when the client names no time-out; up to twice that (Go: MinRequestTimeout)."""
BOOKMARK_SECONDS = 60.0
"""How often an idle watch that asked for bookmarks gets one (kube-apiserver: about once a minute)."""


def open_watcher(core: Core, result: WatchResult) -> Watcher:
    """Subscribe as granted; the caller closes what it gets."""
    options = result.options
    return core.store.watch(
        result.type.key,
        result.namespace,
        predicate=result.predicate,
        name=result.name,
        resource_version=options.resource_version,
        resource_version_match=options.resource_version_match,
        allow_bookmarks=options.allow_bookmarks,
        send_initial_events=options.send_initial_events,
    )


async def serve_watch(
    core: Core, raw: web.BaseRequest, request: Request, result: WatchResult, *, lines: Lines
) -> web.StreamResponse:
    """Stream changes until the time-out, the client's end, or an ERROR event."""
    watcher = open_watcher(core, result)
    try:
        response = await open_stream(raw, request, lines.content_type)
        seconds = result.timeout_seconds or MIN_TIMEOUT * (1 + random.random())
        bookmarks = result.options.allow_bookmarks
        try:
            async with asyncio.timeout(seconds):
                await _pump(watcher, response, lines.encode, bookmarks=bookmarks)
        except TimeoutError:
            # The last thing a watcher hears is how far it has come, so that it resumes from there.
            last = watcher.bookmark() if bookmarks else None
            if last is not None:
                await response.write(lines.encode(last))
        await response.write_eof()
        return response
    finally:
        watcher.close()


async def _pump(
    watcher: Watcher, response: web.StreamResponse, encode_line: Callable[[Change], bytes], *, bookmarks: bool
) -> None:
    while True:
        changes = await watcher.changes(BOOKMARK_SECONDS if bookmarks else None)
        if not changes:
            if watcher.closed:
                return
            bookmark = watcher.bookmark()
            if bookmark is None:
                continue
            changes = [bookmark]
        await response.write(b"".join(encode_line(change) for change in changes))
        if changes[-1].type == "ERROR":
            return
