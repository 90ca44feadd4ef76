"""Which Authorization a request carries: the one it was given, to the host it was meant for, and no other.

aiohttp reads proxies from the environment only together with ~/.netrc, whose passwords it sends to hosts of that name and
which it refuses beside a header of ours. As the last word before each hop this also settles what redirects take along.
"""

from __future__ import annotations

from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse, hdrs
from yarl import URL

__all__ = ["authorized_as"]


def authorized_as(authorization: str, url: str) -> ClientMiddlewareType:
    """For `middlewares` of one request to the URL; the empty string sends none."""
    meant_for = URL(url).origin()

    async def send(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        request.headers.pop(hdrs.AUTHORIZATION, None)
        if authorization and request.url.origin() == meant_for:
            request.headers[hdrs.AUTHORIZATION] = authorization
        return await handler(request)

    return send
