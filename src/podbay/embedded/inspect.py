"""What can be said about a cluster from outside its process: for `podbay cluster status` and `nodes`.

A handful of reads over the wire with the cluster's own admin certificate; not a client for anything else.
"""

from __future__ import annotations

from typing import Any

from podbay.embedded.home import ClusterHome
from podbay.embedded.remote import remote
from podbay.errors import ApiError, StateError
from podbay.objects.meta import Object

__all__ = ["cluster_facts", "node_facts"]

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
            async with remote(home) as cluster:
                facts["version"] = (await cluster.get("/version"))["gitVersion"]
                facts["nodes"] = len((await cluster.get("/api/v1/nodes"))["items"])
                facts["pods"] = len((await cluster.get("/api/v1/pods"))["items"])
        except (ApiError, StateError):
            facts["state"] = "not answering"
    return facts


async def node_facts(home: ClusterHome) -> list[dict[str, Any]]:
    """One row a node. Raises StateError when the cluster is not running or does not answer."""
    async with remote(home) as cluster:
        nodes = (await cluster.get("/api/v1/nodes"))["items"]
        pods = (await cluster.get("/api/v1/pods"))["items"]
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
