"""A cluster with one node of this machine and one pod on it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from wire_cluster import RUNNING, Wire
from wire_node import LocalNode

from podbay.embedded.cluster import EmbeddedCluster
from podbay.objects.nodes import NODES


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
