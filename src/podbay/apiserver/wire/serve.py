"""What a granted StreamResult becomes: the text of a log, or a session (sessions.py).

Source: pkg/registry/core/pod/rest/log.go, k8s.io/apiserver/pkg/registry/generic/rest/streamer.go.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aiohttp import web

from podbay.aio.race import closing
from podbay.apiserver.request import Request
from podbay.apiserver.result import StreamResult
from podbay.apiserver.wire.log_options import log_options
from podbay.apiserver.wire.nodes import node_of
from podbay.apiserver.wire.sessions import serve_session
from podbay.objects.meta import Object

if TYPE_CHECKING:
    from podbay.apiserver.core import Core

__all__ = ["serve_stream"]

logger = logging.getLogger(__name__)


async def serve_stream(
    core: Core, raw: web.BaseRequest, request: Request, result: StreamResult
) -> web.StreamResponse:
    """Answer a StreamResult. Raises ApiError before the first byte is sent, never after."""
    if result.kind == "log":
        return await _serve_log(core, raw, request, result.pod)
    return await serve_session(core, raw, request, result)


async def _serve_log(core: Core, raw: web.BaseRequest, request: Request, pod: Object) -> web.StreamResponse:
    options = log_options(request, pod, core.now())
    node = node_of(core, pod)
    if node is None:
        # A pod that is not bound has no log yet; kube-apiserver says so with an empty answer.
        return web.Response(status=204)
    # A client that goes away cancels this handler, which closes the log; a slow one holds up `write`.
    async with closing(await node.logs(pod, options)) as chunks:
        response = web.StreamResponse(status=200)
        response.headers["Content-Type"] = "text/plain"
        response.headers["Cache-Control"] = "no-cache, private"
        response.enable_chunked_encoding()
        # Headers go out at once: a follower of a silent container must know that it is connected.
        await response.prepare(raw)
        try:
            async for chunk in chunks:
                await response.write(chunk)
            await response.write_eof()
        except ConnectionError:
            raise
        except Exception:
            # The status is out already; only a cut connection still tells the client that this is not all.
            logger.exception("reading a log failed: %s", raw.path)
            if raw.transport is not None:
                raw.transport.abort()
    return response
