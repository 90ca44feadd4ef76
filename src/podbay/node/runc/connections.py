"""TCP connections into a pod's network namespace, as `PortStream` of the streams protocol."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from podbay.errors import ConflictError
from podbay.node.runc.namespaces import in_namespace
from podbay.node.runc.netlink import Netlink

__all__ = ["PodConnection", "connect_in_pod", "listen_in_pod", "socket_in_pod"]

_CHUNK = 64 << 10
_CONNECT_SECONDS = 5.0
"""On a loopback device only a full queue of the program's takes longer than an instant."""


class PodConnection:
    """An open connection; owns its socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = connection

    async def read(self) -> bytes:
        """The next chunk; empty at the end, also when the other side broke off."""
        try:
            return await self._loop.sock_recv(self._socket, _CHUNK)
        except OSError:
            return b""

    async def write(self, data: bytes) -> None:
        """Raises nothing when the other side has gone: the reader learns of it."""
        try:
            await self._loop.sock_sendall(self._socket, data)
        except OSError:
            pass

    async def close_write(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    async def aclose(self) -> None:
        self._socket.close()


def socket_in_pod(namespace: Path | None, family: int) -> socket.socket:
    """A non-blocking TCP socket of the pod's network: it stays there, whoever connects it. OSError. Blocks shortly."""

    def make() -> socket.socket:
        return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    return make() if namespace is None else in_namespace(namespace, "net", make)


async def connect_in_pod(make: Callable[[int], Awaitable[socket.socket]], port: int) -> socket.socket:
    """Connect to a port on the pod's loopback, IPv4 first as the kubelet does. ConflictError.

    make gives a socket of the pod's for an address family. No thread waits for a program that does not accept.
    """
    detail = ""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            return await _connected(await make(family), address, port)
        except TimeoutError:
            detail = detail or "connection timed out"
            break
        except OSError as error:
            detail = detail or (error.strerror or "no route").lower()
    raise ConflictError(f"failed to connect to localhost:{port} inside the pod: {detail}")


async def _connected(connection: socket.socket, address: str, port: int) -> socket.socket:
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await asyncio.get_running_loop().sock_connect(connection, (address, port))
    except BaseException:
        connection.close()
        raise
    return connection


def listen_in_pod(namespace: Path, address: str, port: int) -> socket.socket:
    """Listen on an IPv4 address that the pod's loopback device is given for it. ConflictError. Blocks."""

    def listen() -> socket.socket:
        with Netlink() as link:
            link.add_address(socket.if_nametoindex("lo"), address, 32)
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen()
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        return listener

    try:
        return in_namespace(namespace, "net", listen)
    except OSError as error:
        raise ConflictError(f"cannot listen on {address}:{port} inside the pod: {error.strerror}") from error
