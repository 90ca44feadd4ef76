"""What can be said about a cluster from outside its process: for `podbay cluster status` and `nodes`.

A handful of reads over the wire with the cluster's own admin certificate; not a client for anything else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import yaml

from podbay.embedded.access import client_tls
from podbay.embedded.home import ClusterHome
from podbay.errors import StateError
from podbay.objects.meta import Object

__all__ = ["cluster_facts", "node_facts"]

TIMEOUT = aiohttp.ClientTimeout(total=10)
SCRIPTED_LABEL = "podbay.dev/scripted"


async def cluster_facts(home: ClusterHome) -> dict[str, Any]:
    """Name, state, address, version and counts; counts are None when the cluster does not answer."""
    recorded = home.read_process() if home.is_running() else {}
    facts: dict[str, Any] = {
        "name": home.name,
        "state": "running" if recorded else "stopped",
        "url": recorded.get("url"),
        "version": None,
        "nodes": None,
        "pods": None,
        "started": recorded.get("started"),
        "kubeconfig": str(home.kubeconfig) if home.kubeconfig.exists() else None,
        "directory": str(home.directory),
    }
    if recorded:
        try:
            async with _reader(home) as read:
                facts["version"] = (await read("/version"))["gitVersion"]
                facts["nodes"] = len((await read("/api/v1/nodes"))["items"])
                facts["pods"] = len((await read("/api/v1/pods"))["items"])
        except (aiohttp.ClientError, TimeoutError, OSError):
            facts["state"] = "not answering"
    return facts


async def node_facts(home: ClusterHome) -> list[dict[str, Any]]:
    """One row a node. Raises StateError when the cluster is not running or does not answer."""
    if not home.is_running():
        raise StateError(
            f"cluster {home.name!r} is not running. Start it: podbay cluster start --name {home.name}"
        )
    try:
        async with _reader(home) as read:
            nodes = (await read("/api/v1/nodes"))["items"]
            pods = (await read("/api/v1/pods"))["items"]
    except (aiohttp.ClientError, TimeoutError, OSError) as err:
        raise StateError(f"cluster {home.name!r} does not answer: {err}. Its log is {home.log}") from err
    return [_node_row(node, pods) for node in nodes]


def _node_row(node: Object, pods: list[Object]) -> dict[str, Any]:
    name = node["metadata"]["name"]
    status, spec = node.get("status") or {}, node.get("spec") or {}
    allocatable = status.get("allocatable") or {}
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())
    active = sum(
        1
        for pod in pods
        if pod["spec"].get("nodeName") == name and pod["status"].get("phase") not in ("Succeeded", "Failed")
    )
    taints = [f"{t['key']}={t.get('value', '')}:{t['effect']}" for t in spec.get("taints") or ()]
    return {
        "name": name,
        "status": "Ready" if ready else "NotReady",
        "kind": "scripted" if SCRIPTED_LABEL in (node["metadata"].get("labels") or {}) else "containers",
        "cpu": allocatable.get("cpu", "-"),
        "memory": allocatable.get("memory", "-"),
        "pods": f"{active}/{allocatable.get('pods', '-')}",
        "taints": ",".join(taints) or "-",
    }


@asynccontextmanager
async def _reader(home: ClusterHome) -> AsyncIterator[Any]:
    """A function that reads a path of the cluster's API as its administrator."""
    config = yaml.safe_load(home.kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = client_tls(cluster, user)
    assert context is not None
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session:

        async def read(path: str) -> Object:
            async with session.get(cluster["server"] + path) as response:
                response.raise_for_status()
                return await response.json()  # type: ignore[no-any-return]

        yield read
