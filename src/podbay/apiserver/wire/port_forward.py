"""One forwarded connection: bytes both ways between a client and a port in a pod, half-closes included.

Source: k8s.io/kubelet/pkg/cri/streaming/portforward (the words of a failure).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from podbay.aio.race import cancel_all, closing
from podbay.apiserver.streams import PortStream
from podbay.errors import ApiError
from podbay.objects.meta import Object, name_of

__all__ = ["PORT_PROTOCOL", "ClientPair", "forward_port"]

logger = logging.getLogger(__name__)

PORT_PROTOCOL = "portforward.k8s.io"
LINGER_SECONDS = 1.0
"""How long a client may be silent after the pod has sent its last before the connection ends.

Clients close their side only when ours is closed, and on a WebSocket not even then.
"""


class ClientPair(Protocol):
    """The client's side of one connection."""

    async def read(self) -> bytes:
        """The next bytes, b"" when the client sends no more. ConnectionError when it has cut the connection off."""
        ...

    async def write(self, data: bytes) -> None: ...

    async def close_write(self) -> None:
        """The pod sends no more."""
        ...


async def forward_port(
    pod: Object, port: int, client: ClientPair, connect: Callable[[], Awaitable[PortStream]]
) -> str:
    """Serve one connection to its end. Gives back what went wrong in a kubelet's words, "" when nothing did."""
    try:
        stream = await connect()
        async with closing(stream):
            await _carry(client, stream)
    except ApiError as err:
        return f"error forwarding port {port} to pod {name_of(pod)}, uid : {err.message}"
    except ConnectionError:
        # One side cut the connection off: nothing to tell, and other connections go on.
        return ""
    except Exception:
        logger.exception("forwarding port %d to pod %s failed", port, name_of(pod))
        return f"error forwarding port {port} to pod {name_of(pod)}, uid : see the server's log"
    return ""


async def _carry(client: ClientPair, stream: PortStream) -> None:
    moved = asyncio.Event()
    upstream = asyncio.ensure_future(_upstream(client, stream, moved))
    downstream = asyncio.ensure_future(_downstream(client, stream))
    try:
        await asyncio.wait((upstream, downstream), return_when=asyncio.FIRST_COMPLETED)
        if not downstream.done():
            # The client has closed its half; the pod may answer for as long as it likes, unless the client cut us off.
            upstream.result()
            await downstream
        downstream.result()
        while not upstream.done():
            moved.clear()
            await asyncio.wait((upstream,), timeout=LINGER_SECONDS)
            if not moved.is_set():
                return
        upstream.result()
    finally:
        await cancel_all((upstream, downstream))


async def _upstream(client: ClientPair, stream: PortStream, moved: asyncio.Event) -> None:
    while data := await client.read():
        moved.set()
        await stream.write(data)
    await stream.close_write()


async def _downstream(client: ClientPair, stream: PortStream) -> None:
    while data := await stream.read():
        await client.write(data)
    await client.close_write()
