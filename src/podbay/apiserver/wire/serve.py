"""Which node answers a stream, and in which form its bytes reach the client."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from aiohttp import web

from podbay.apiserver.request import Request
from podbay.apiserver.result import StreamResult
from podbay.apiserver.streams import NodeStreams
from podbay.apiserver.wire.log_options import log_options
from podbay.errors import ApiError
from podbay.objects.meta import Object

if TYPE_CHECKING:
    from podbay.apiserver.core import Core

__all__ = ["node_of", "serve_stream"]


async def serve_stream(
    core: Core, raw: web.BaseRequest, request: Request, result: StreamResult
) -> web.StreamResponse:
    """Answer a StreamResult. Raises ApiError before the first byte is sent, never after."""
    if result.kind == "log":
        return await _serve_log(core, raw, request, result.pod)
    from podbay.apiserver.wire.sessions import serve_session

    return await serve_session(core, raw, request, result)


def node_of(core: Core, pod: Object) -> NodeStreams | None:
    """Who runs the pod, None while it is not bound. Raises ApiError 500 when that node is not here."""
    name = (pod.get("spec") or {}).get("nodeName")
    if not name:
        return None
    node = core.nodes.get(name)
    if node is None:
        raise ApiError(
            500, "InternalError", f"Internal error occurred: nodes {name!r} has no agent in this cluster"
        )
    return node


async def _serve_log(core: Core, raw: web.BaseRequest, request: Request, pod: Object) -> web.StreamResponse:
    options = log_options(request, pod, core.now())
    node = node_of(core, pod)
    if node is None:
        # A pod that is not bound has no log yet; a real server says so with an empty answer.
        return web.Response(status=204)
    async with aclosing(await node.logs(pod, options)) as chunks:
        response = web.StreamResponse(status=200)
        response.headers["Content-Type"] = "text/plain"
        response.headers["Cache-Control"] = "no-cache, private"
        response.enable_chunked_encoding()
        # Headers go out at once: a follower of a silent container must know that it is connected.
        await response.prepare(raw)
        async for chunk in chunks:
            await response.write(chunk)
        await response.write_eof()
    return response
