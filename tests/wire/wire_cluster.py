"""What the tests of streams talk to: a cluster, a node of this machine, clients."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from patience import PATIENCE
from wire_node import LocalNode

from podbay.embedded.cluster import EmbeddedCluster
from podbay.errors import ApiError
from podbay.objects.meta import Object
from podbay.objects.resource import GVR

PODS = GVR("", "v1", "pods")
NAMESPACES = GVR("", "v1", "namespaces")
SERVICE_ACCOUNTS = GVR("", "v1", "serviceaccounts")
_NOW = "2026-01-02T03:04:05Z"


@dataclass(frozen=True)
class Wire:
    """What a test talks to."""

    cluster: EmbeddedCluster
    node: LocalNode
    kubeconfig: Path

    @property
    def pods_url(self) -> str:
        return f"{self.cluster.url}/api/v1/namespaces/default/pods"

    async def add_pod(
        self,
        name: str,
        status: Object,
        *,
        node: str = "local",
        namespace: str = "default",
        **spec: object,
    ) -> None:
        """A pod with that status; spec adds to (or replaces) a single container `main`."""
        containers = [{"name": "main", "image": "local", "ports": [{"containerPort": 80}]}]
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {"containers": containers, "nodeName": node, "schedulerName": "nobody", **spec},
        }
        if not node:
            del body["spec"]["nodeName"]
        api = self.cluster.api()
        await api.create(PODS, body, namespace=namespace)
        await api.patch(PODS, name, {"status": status}, namespace=namespace, subresource="status")

    async def add_namespace(self, name: str) -> None:
        """A namespace in which pods can be created."""
        api = self.cluster.api()
        await api.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await api.get(SERVICE_ACCOUNTS, "default", namespace=name)
                    return
                except ApiError:
                    await asyncio.sleep(0.01)

    def client(self) -> aiohttp.ClientSession:
        """An administrator's HTTP client."""
        return aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self.cluster.token}"},
            connector=aiohttp.TCPConnector(ssl=self.tls(), force_close=True),
        )

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.cluster._pki.ca_pem)

    def kubectl_command(self, *arguments: str) -> list[str]:
        binary = Path(sys.executable).with_name("kubectl")
        return [str(binary), f"--kubeconfig={self.kubeconfig}", *arguments]

    async def kubectl(
        self, *arguments: str, stdin: bytes | None = None, env: dict[str, str] | None = None
    ) -> tuple[int, bytes, bytes]:
        """Exit code, output and error output of kubectl."""
        process = await asyncio.create_subprocess_exec(
            *self.kubectl_command(*arguments),
            stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **(env or {})},
        )
        try:
            async with asyncio.timeout(PATIENCE):
                out, err = await process.communicate(stdin)
        except TimeoutError:
            process.kill()
            out, err = await process.communicate()
            pytest.fail(f"kubectl {arguments} hangs: {out!r} {err!r}")
        assert process.returncode is not None
        return process.returncode, out, err


RUNNING: Object = {
    "phase": "Running",
    "startTime": _NOW,
    "conditions": [{"type": "Ready", "status": "True"}],
    "containerStatuses": [
        {
            "name": "main",
            "image": "local",
            "imageID": "local",
            "containerID": "local://1",
            "ready": True,
            "started": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": _NOW}},
        }
    ],
}
