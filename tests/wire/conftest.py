"""A cluster with one node of this machine and one pod on it."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from local_node import LocalNode

from podbay.embedded.cluster import EmbeddedCluster
from podbay.objects.meta import Object
from podbay.objects.nodes import NODES
from podbay.objects.resource import GVR

PODS = GVR("", "v1", "pods")
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

    async def add_pod(self, name: str, status: Object, *, node: str = "local", **spec: object) -> None:
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
        await api.create(PODS, body, namespace="default")
        await api.patch(PODS, name, {"status": status}, namespace="default", subresource="status")

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
            async with asyncio.timeout(30):
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


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def served() -> AsyncIterator[Wire]:
    """The cluster of all tests here; the pod `p` is running."""
    directory = Path(tempfile.mkdtemp(prefix="podbay-wire-"))
    try:
        async with EmbeddedCluster() as cluster:
            kubeconfig = directory / "kubeconfig"
            kubeconfig.touch(mode=0o600)
            kubeconfig.write_text(cluster.kubeconfig())
            node = LocalNode()
            await cluster.api().create(
                NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "local"}}
            )
            cluster.server.core.nodes["local"] = node
            wire = Wire(cluster, node, kubeconfig)
            await wire.add_pod("p", RUNNING)
            yield wire
    finally:
        shutil.rmtree(directory)


@pytest_asyncio.fixture(loop_scope="package")
async def wire(served: Wire) -> AsyncIterator[Wire]:
    """The cluster, with a check that the test has left nothing open at the node."""
    served.node.log, served.node.log_ended = [], False
    yield served
    await served.node.wait_closed()
