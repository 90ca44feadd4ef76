"""hostPort: a port of this machine that leads into a pod, for TCP.

Without hostIP only the machine itself can use it: what a developer's machine offers is not offered to its network.
Source: the CNI portmap plugin, which real nodes use for the same.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from podbay.node.api_gate import pass_on
from podbay.node.observed import SandboxStatus
from podbay.node.podspec import all_containers
from podbay.objects.meta import Object, uid_of

__all__ = ["HostPorts"]

log = logging.getLogger(__name__)


class HostPorts:
    """Listeners by pod uid."""

    def __init__(self) -> None:
        self._servers: dict[str, list[asyncio.Server]] = {}

    async def open(self, pod: Object, sandbox: SandboxStatus) -> str:
        """Listen for the pod; opening twice is once. What is wrong, as a sentence; empty when all is well."""
        if uid_of(pod) in self._servers or pod["spec"].get("hostNetwork") or not sandbox.ips:
            return ""
        problems = []
        for _, container in all_containers(pod["spec"]):
            for port in container.get("ports") or ():
                if port.get("hostPort"):
                    problems.append(await self._open(uid_of(pod), port, sandbox.ips[0]))
        return "; ".join(filter(None, problems))

    async def _open(self, uid: str, port: Object, address: str) -> str:
        number = port["hostPort"]
        if (port.get("protocol") or "TCP") != "TCP":
            return f"host port {number}: only TCP ports of this machine can lead into pods"
        leads_to = (address, int(port["containerPort"]))
        host = port.get("hostIP") or "127.0.0.1"
        try:
            server = await asyncio.start_server(partial(pass_on, leads_to), host, number)
        except OSError as error:
            return f"host port {number}: {error.strerror}"
        self._servers.setdefault(uid, []).append(server)
        return ""

    def close(self, uid: str) -> None:
        """Stop listening for the pod."""
        for server in self._servers.pop(uid, ()):
            server.close()

    def close_all(self) -> None:
        """Stop listening for all pods."""
        for uid in list(self._servers):
            self.close(uid)
