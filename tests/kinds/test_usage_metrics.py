"""metrics.k8s.io: what nodes measured, as objects, lists and tables. Words: metrics-server's pkg/api."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from whole_server import NAMESPACE, Server

from podbay.apiserver.local import LocalApi
from podbay.apiserver.server import SYSTEM
from podbay.apiserver.streams import NodeUsage, Use
from podbay.errors import ApiError, RuntimeUnavailableError
from podbay.objects.resource import GVR

POD_METRICS = GVR("metrics.k8s.io", "v1beta1", "pods")
NODE_METRICS = GVR("metrics.k8s.io", "v1beta1", "nodes")
NODES = GVR("", "v1", "nodes")
PODS = GVR("", "v1", "pods")


class Node:
    """A node that tells what it is given. None: it cannot measure; an exception: it does not answer."""

    def __init__(self, answer: NodeUsage | Exception | None) -> None:
        self.answer = answer

    async def usage(self) -> NodeUsage | None:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Blind:
    """A node that has no way to measure."""


def local(server: Server) -> LocalApi:
    return LocalApi(server.dispatcher._core, server.dispatcher, SYSTEM, agent="test")


async def add_pod(server: Server, name: str, node: str, *containers: str) -> str:
    """A pod bound to a node; gives its uid."""
    server.call("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": {"name": "default"}})
    listed = [{"name": c, "image": "i"} for c in containers]
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"nodeName": node, "containers": listed},
    }
    return str((await local(server).create(PODS, body, namespace=NAMESPACE))["metadata"]["uid"])


def usage(pods: dict[str, dict[str, Use]]) -> NodeUsage:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    return NodeUsage(timestamp=moment, window=1.25, node=Use(1_500_000_000, 1 << 30), pods=pods)


def attach(server: Server, **nodes: object) -> None:
    for name, node in nodes.items():
        server.create("/api/v1/nodes", {"metadata": {"name": name}})
        server.dispatcher._core.nodes[name] = node  # type: ignore[assignment]


async def test_pods(server: Server) -> None:
    attach(server, n1=Node(None))
    one = await add_pod(server, "one", "n1", "main", "side")
    await add_pod(server, "new", "n1", "main")
    used = {one: {"side": Use(1, 0), "main": Use(250_000_000, 300 << 20)}}
    server.dispatcher._core.nodes["n1"] = Node(usage(used))  # type: ignore[assignment]
    (found,) = (await local(server).list(POD_METRICS, namespace=NAMESPACE)).items
    assert found == {
        "kind": "PodMetrics",
        "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {
            "name": "one",
            "namespace": NAMESPACE,
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "labels": {"app": "one"},
        },
        "timestamp": "2026-01-02T03:04:05Z",
        "window": "1.25s",
        "containers": [
            {"name": "main", "usage": {"cpu": "250m", "memory": "300Mi"}},
            {"name": "side", "usage": {"cpu": "1n", "memory": "0"}},
        ],
    }
    assert await local(server).get(POD_METRICS, "one", namespace=NAMESPACE) == found
    assert not (await local(server).list(POD_METRICS, label_selector="app=other")).items
    assert (await local(server).list(POD_METRICS, field_selector="metadata.name=one")).items == [found]


async def test_nodes_that_do_not_answer_are_left_out(server: Server) -> None:
    attach(
        server,
        good=Node(usage({})),
        silent=Node(RuntimeUnavailableError("gone")),
        unable=Node(None),
        blind=Blind(),
    )
    (found,) = (await local(server).list(NODE_METRICS)).items
    assert (found["metadata"]["name"], found["usage"]) == ("good", {"cpu": "1500m", "memory": "1Gi"})


async def test_missing(server: Server) -> None:
    attach(server, n1=Node(usage({})))
    await add_pod(server, "new", "n1", "main")
    wanted = {
        ("pods", "gone"): f'pods "{NAMESPACE}/gone" not found',
        ("pods", "new"): f'podmetrics.metrics.k8s.io "{NAMESPACE}/new" not found',
        ("nodes", "gone"): 'nodes "gone" not found',
    }
    for (resource, name), words in wanted.items():
        namespace = NAMESPACE if resource == "pods" else None
        with pytest.raises(ApiError) as refused:
            await local(server).get(GVR("metrics.k8s.io", "v1beta1", resource), name, namespace=namespace)
        assert (refused.value.code, refused.value.message) == (404, words)


def test_nothing_else_may_be_done_with_them(server: Server) -> None:
    path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/pods"
    for method, target in (
        ("POST", path),
        ("DELETE", f"{path}/x"),
        ("PUT", f"{path}/x"),
        ("GET", f"{path}?watch=1"),
    ):
        assert server.call(method, target, {})[0] == 405


async def test_a_slow_node_does_not_hold_up_others(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        async def usage(self) -> NodeUsage | None:
            await asyncio.Event().wait()
            return None

    monkeypatch.setattr("podbay.apiserver.measuring._ANSWER_SECONDS", 0.05)
    attach(server, good=Node(usage({})), slow=Slow())
    found = (await local(server).list(NODE_METRICS)).items
    assert [node["metadata"]["name"] for node in found] == ["good"]
