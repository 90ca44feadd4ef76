"""A connection to a port of a pod: to an address that this machine reaches, or else through the runtime.

Engines on another machine, or in a virtual one, and containers without root have pods that no socket here can reach;
what forwards ports then leads to the pod's loopback address as well. Source: pkg/probe/http/request.go for TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from contextlib import AsyncExitStack

from podbay.aio.tasks import TaskGroup
from podbay.apiserver.streams import PortStream
from podbay.errors import ConflictError
from podbay.node.runtime import Streams

__all__ = ["Streamed", "dial", "dial_through"]

Streamed = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_CHUNK = 64 << 10


async def dial(stack: AsyncExitStack, address: str, port: int, *, tls: bool) -> Streamed:
    """Connect; the connection lasts until the stack is left. OSError."""
    reader, writer = await asyncio.open_connection(address, port, ssl=_unverified() if tls else None)
    stack.callback(writer.close)
    return reader, writer


async def dial_through(
    stack: AsyncExitStack, streams: Streams, sandbox_id: str, port: int, *, tls: bool
) -> Streamed:
    """Connect to the loopback address of a pod as `dial` does. ConnectionRefusedError, and what connect raises."""
    try:
        stream = await streams.connect(sandbox_id, port)
    except ConflictError as error:
        raise ConnectionRefusedError(111, "connection refused") from error
    stack.push_async_callback(stream.aclose)
    near, far = socket.socketpair()
    stack.callback(far.close)
    far.setblocking(False)
    group = await stack.enter_async_context(TaskGroup("connection to a pod"))
    group.start("in", _carry_in(stream, far))
    group.start("out", _carry_out(far, stream))
    # The name is not checked, but asyncio wants one for a socket that it did not connect.
    name = "localhost" if tls else None
    reader, writer = await asyncio.open_connection(
        sock=near, ssl=_unverified() if tls else None, server_hostname=name
    )
    stack.callback(writer.close)
    return reader, writer


async def _carry_in(stream: PortStream, far: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := await stream.read():
            await asyncio.get_running_loop().sock_sendall(far, data)
        far.shutdown(socket.SHUT_WR)


async def _carry_out(far: socket.socket, stream: PortStream) -> None:
    with contextlib.suppress(OSError):
        while data := await asyncio.get_running_loop().sock_recv(far, _CHUNK):
            await stream.write(data)
        await stream.close_write()


def _unverified() -> ssl.SSLContext:
    """Probes do not check certificates."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
