"""Node lifecycle: nodes whose heartbeat stops become Unknown, get taints, and lose their pods after a while.

Decisions are in `node_health`. Source: pkg/controller/nodelifecycle, pkg/controller/tainteviction. Health is measured
from the moment a heartbeat was seen here, so clocks need not agree and a suspended machine loses no node.
"""

from __future__ import annotations

from collections.abc import Iterable

from podbay.aio.clock import Clock
from podbay.aio.informer import Informer, InformerSet, object_key
from podbay.embedded.controllers.base import PODS, Loop, is_terminal, record
from podbay.embedded.controllers.disruption import delete_pod, disrupt
from podbay.embedded.controllers.node_health import (
    eviction_delay,
    not_ready_conditions,
    ready_status,
    unknown_conditions,
    wanted_taints,
)
from podbay.errors import ApiError
from podbay.objects.api import ClusterApi
from podbay.objects.meta import Object, name_of, namespace_of
from podbay.objects.nodes import LEASES, NODE_LEASES, NODES

__all__ = ["NodeLifecycle", "TaintEviction"]


class NodeLifecycle:
    """Keys are node names."""

    def __init__(self, api: ClusterApi, clock: Clock, *, grace_seconds: float) -> None:
        self._api = api
        self._clock = clock
        self._grace_seconds = grace_seconds
        self._seen: dict[str, float] = {}
        self._ready: dict[str, str] = {}
        self._nodes: Informer | None = None
        self._pods: Informer | None = None
        self.loop: Loop[str] = Loop("node lifecycle", clock, self._reconcile)

    def watch(self, informers: InformerSet) -> None:
        self._nodes, self._pods = informers.informer(NODES), informers.informer(PODS)
        self._pods.add_index("node", lambda pod: [pod["spec"].get("nodeName") or ""])
        informers.separate(LEASES, namespace=NODE_LEASES).add_handler(self._on_lease)
        self._nodes.add_handler(self._on_node)

    def _on_lease(self, old: Object | None, new: Object | None) -> None:
        if new is not None and (old is None or _renewed(old) != _renewed(new)):
            self._beat(name_of(new))

    def _on_node(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            self._seen.pop(name_of(old or {}), None)
            self._ready.pop(name_of(old or {}), None)
            return
        if old is None or _heartbeats(old) != _heartbeats(new):
            self._beat(name_of(new))
        self.loop.queue.add(name_of(new))

    def _beat(self, node: str) -> None:
        silent = self._clock.monotonic() - self._seen.get(node, float("-inf"))
        self._seen[node] = self._clock.monotonic()
        # A steady heartbeat changes nothing; the first one after silence does.
        if silent > self._grace_seconds:
            self.loop.queue.add(node)

    async def _reconcile(self, name: str) -> float | None:
        assert self._nodes is not None
        node = self._nodes.get(name)
        if node is None:
            return None
        first = name not in self._ready
        if first:
            await self._tell(
                node, "RegisteredNode", f"Node {name} event: Registered Node {name} in Controller"
            )
        silent = self._clock.monotonic() - self._seen.setdefault(name, self._clock.monotonic())
        if silent >= self._grace_seconds:
            node = await self._mark_unknown(node)
        taints = wanted_taints(node, self._clock.now())
        if taints is not None:
            version = node["metadata"]["resourceVersion"]
            await self._api.patch(
                NODES, name, {"metadata": {"resourceVersion": version}, "spec": {"taints": taints or None}}
            )
        ready = ready_status(node)
        if ready != "True" and self._ready.get(name, "True") == "True":
            await self._became_not_ready(node, told=not first)
        self._ready[name] = ready
        return max(1.0, self._grace_seconds - silent) if silent < self._grace_seconds else None

    async def _mark_unknown(self, node: Object) -> Object:
        conditions = unknown_conditions(node, self._clock.now())
        if conditions is None:
            return node
        return await self._api.patch(
            NODES, name_of(node), {"status": {"conditions": conditions}}, subresource="status"
        )

    async def _became_not_ready(self, node: Object, *, told: bool) -> None:
        assert self._pods is not None
        if told:
            name = name_of(node)
            await self._tell(node, "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        for pod in self._pods.by_index("node", name_of(node)):
            conditions = not_ready_conditions(pod, self._clock.now())
            if conditions is None:
                continue
            patch = {"status": {"conditions": conditions}}
            try:
                await self._api.patch(
                    PODS, name_of(pod), patch, namespace=namespace_of(pod), subresource="status"
                )
            except ApiError as error:
                if error.code != 404:
                    raise

    async def _tell(self, node: Object, reason: str, message: str) -> None:
        typed = {"apiVersion": "v1", "kind": "Node", **node}
        await record(
            self._api,
            self._clock,
            typed,
            type="Normal",
            reason=reason,
            message=message,
            component="node-controller",
        )


def _renewed(lease: Object) -> object:
    return (lease.get("spec") or {}).get("renewTime")


def _heartbeats(node: Object) -> object:
    """What only the node itself changes; our own Unknown and taints are no sign of life."""
    conditions: Iterable[Object] = (node.get("status") or {}).get("conditions") or ()
    return [(c["type"], c.get("lastHeartbeatTime")) for c in conditions]


class TaintEviction:
    """Ends pods that do not (or no longer) tolerate their node's NoExecute taints. Keys are pods."""

    def __init__(self, api: ClusterApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._since: dict[str, float] = {}
        self._nodes: Informer | None = None
        self._pods: Informer | None = None
        self.loop: Loop[str] = Loop("taint eviction", clock, self._reconcile)

    def watch(self, informers: InformerSet) -> None:
        self._nodes, self._pods = informers.informer(NODES), informers.informer(PODS)
        self._pods.add_index("node", lambda pod: [pod["spec"].get("nodeName") or ""])
        self._nodes.add_handler(self._on_node)
        self._pods.add_handler(self._on_pod)

    def _on_node(self, old: Object | None, new: Object | None) -> None:
        assert self._pods is not None
        if new is None or (old is not None and _taints(old) == _taints(new)):
            return
        if old is None and not _taints(new):
            return
        for pod in self._pods.by_index("node", name_of(new)):
            self.loop.queue.add(object_key(pod))

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        assert self._nodes is not None
        if new is None:
            self._since.pop(object_key(old or {}), None)
            return
        node = self._nodes.get(new["spec"].get("nodeName") or "")
        if node is not None and _taints(node):
            self.loop.queue.add(object_key(new))

    async def _reconcile(self, key: str) -> float | None:
        assert self._nodes is not None
        assert self._pods is not None
        pod = self._pods.store.get(key)
        node = self._nodes.get(pod["spec"].get("nodeName") or "") if pod is not None else None
        if pod is None or node is None or is_terminal(pod) or pod["metadata"].get("deletionTimestamp"):
            return None
        delay = eviction_delay(pod, _taints(node)) if _taints(node) else None
        if delay is None:
            self._since.pop(key, None)
            return None
        left = self._since.setdefault(key, self._clock.monotonic()) + delay - self._clock.monotonic()
        if left > 0:
            return left
        await self._evict(pod)
        self._since.pop(key, None)
        return None

    async def _evict(self, pod: Object) -> None:
        await record(
            self._api,
            self._clock,
            {"apiVersion": "v1", "kind": "Pod", **pod},
            type="Normal",
            reason="TaintManagerEviction",
            message=f"Marking for deletion Pod {object_key(pod)}",
            component="taint-eviction-controller",
        )
        message = "Taint manager: deleting due to NoExecute taint"
        await disrupt(self._api, self._clock, pod, reason="DeletionByTaintManager", message=message)
        await delete_pod(self._api, pod)


def _taints(node: Object) -> list[Object]:
    """The node's NoExecute taints."""
    return [t for t in (node.get("spec") or {}).get("taints") or () if t.get("effect") == "NoExecute"]
