"""The API server inside pods: what listens on the `kubernetes` service's address in each pod's own network.

Pods get the same address and port as on any cluster, in KUBERNETES_SERVICE_HOST and _PORT; bytes are passed on to the
server's real address. The server stays on the machine's loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from functools import partial

from podbay.aio.race import to_the_end
from podbay.errors import PodbayError
from podbay.node.observed import SandboxStatus
from podbay.node.runtime import PodListeners, Runtime

__all__ = ["ApiGate", "ServiceAddress", "pass_on"]

log = logging.getLogger(__name__)

_CHUNK = 64 << 10


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """Where pods look for the API server, and where it is."""

    address: str
    port: int
    server: tuple[str, int]


class ApiGate:
    """Listeners by sandbox. Does nothing with a runtime that cannot listen in pods."""

    def __init__(self, runtime: Runtime, service: ServiceAddress | None) -> None:
        self._listeners = runtime if isinstance(runtime, PodListeners) else None
        self._service = service
        self._servers: dict[str, asyncio.Server] = {}

    async def open(self, sandbox: SandboxStatus) -> None:
        """Listen in the sandbox; opening twice is once."""
        if (
            self._listeners is None
            or self._service is None
            or sandbox.id in self._servers
            or not sandbox.ready
        ):
            return
        # A cancelled caller must not leave a socket that nobody knows.
        await to_the_end(self._open(self._listeners, self._service, sandbox))

    async def _open(self, listeners: PodListeners, service: ServiceAddress, sandbox: SandboxStatus) -> None:
        try:
            listener = await listeners.listen(sandbox.id, service.address, service.port)
        except PodbayError as error:
            log.warning(
                "pod %s/%s cannot reach the API server: %s", sandbox.pod_namespace, sandbox.pod_name, error
            )
            return
        if listener is not None:
            self._servers[sandbox.id] = await asyncio.start_server(
                partial(pass_on, service.server), sock=listener
            )

    async def close(self, sandbox_id: str) -> None:
        """Stop listening; a pod's network goes only when nobody listens in it."""
        server = self._servers.pop(sandbox_id, None)
        if server is not None:
            server.close()

    async def aclose(self) -> None:
        """Stop listening in all sandboxes."""
        for sandbox_id in list(self._servers):
            await self.close(sandbox_id)


async def pass_on(
    server: tuple[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Connect to server and carry bytes both ways until both sides have ended."""
    try:
        there = await asyncio.open_connection(*server)
    except OSError:
        writer.close()
        return
    try:
        await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))
    finally:
        writer.close()
        there[1].close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All bytes up to the end, and then the end."""
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
