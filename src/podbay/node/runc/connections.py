"""TCP connections into a pod's network namespace, as `PortStream` of the streams protocol."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from podbay.errors import ConflictError
from podbay.node.runc.namespaces import in_namespace
from podbay.node.runc.netlink import Netlink

__all__ = ["PodConnection", "connect_in_pod", "listen_in_pod"]

_CHUNK = 64 << 10


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


def connect_in_pod(namespace: Path | None, port: int) -> socket.socket:
    """Connect to a port on the pod's loopback, IPv4 first as the kubelet does. ConflictError. Blocks."""

    def connect() -> socket.socket:
        problem: OSError | None = None
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            try:
                connection.connect((address, port))
                connection.setblocking(False)
                return connection
            except OSError as error:
                connection.close()
                problem = problem or error
        detail = problem.strerror if problem else ""
        message = f"failed to connect to localhost:{port} inside the pod: {(detail or 'no route').lower()}"
        raise ConflictError(message)

    return connect() if namespace is None else in_namespace(namespace, "net", connect)


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
