"""The node side of scripted nodes: registration, leases every ten seconds, status when it is wrong, failures.

Source: pkg/kubelet/nodelease, pkg/kubelet/kubelet_node_status.go.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping

from podbay.aio.clock import Clock
from podbay.aio.informer import Informer
from podbay.aio.tasks import TaskGroup
from podbay.embedded.scripted.nodes import SCRIPTED_LABEL, Failure, ScriptedNode
from podbay.errors import ApiError
from podbay.objects.api import ClusterApi
from podbay.objects.events import timestamp_micro
from podbay.objects.meta import Object, name_of
from podbay.objects.nodes import LEASES, NODE_LEASES, NODES, node_conditions, node_lease, node_object

__all__ = ["Heartbeat"]

log = logging.getLogger(__name__)

RENEW_SECONDS = 10.0
"""A quarter of the lease's 40 s, as the kubelet does."""


class Heartbeat:
    """Keeps all nodes of one host alive in the API's eyes, except those that are lost."""

    def __init__(
        self,
        api: ClusterApi,
        clock: Clock,
        nodes: Mapping[str, ScriptedNode],
        *,
        on_return: Callable[[str], None],
    ) -> None:
        self._api = api
        self._clock = clock
        self._nodes = nodes
        self._on_return = on_return
        self._lost: set[str] = set()
        self._failed: set[str] = set()
        self._started = clock.monotonic()
        self._seen: Informer | None = None

    def is_lost(self, name: str) -> bool:
        return name in self._lost or name in self._failed

    def lose(self, name: str) -> None:
        self._lost.add(name)

    def recover(self, name: str) -> None:
        """Back at once; the lease follows with the next beat, the reports right away."""
        self._lost.discard(name)
        if not self.is_lost(name):
            self._on_return(name)

    async def register(self, group: TaskGroup) -> None:
        """Create the nodes that are missing, correct those that are there, and take their leases."""
        self._started = self._clock.monotonic()
        for node in self._nodes.values():
            obj = await self._register(node)
            await self._take_lease(obj)
        self._seen = Informer(self._api, NODES, self._clock)
        group.start("nodes", self._seen.run())

    async def run(self) -> None:
        """Beat until cancelled; a planned failure begins and ends on time."""
        while True:
            await self._clock.sleep(self._pause())
            self._play_failures()
            for name in self._nodes:
                if not self.is_lost(name):
                    await self._beat(name)

    def _elapsed(self) -> float:
        return self._clock.monotonic() - self._started

    def _pause(self) -> float:
        elapsed = self._elapsed()
        edges = [
            edge
            for node in self._nodes.values()
            for failure in node.failures
            for edge in (failure.after, failure.after + failure.seconds)
            if edge > elapsed
        ]
        return min(RENEW_SECONDS, min(edges, default=math.inf) - elapsed)

    def _play_failures(self) -> None:
        for name, node in self._nodes.items():
            failed = any(_lasts(failure, self._elapsed()) for failure in node.failures)
            if failed:
                self._failed.add(name)
            elif name in self._failed:
                self._failed.discard(name)
                self.recover(name)

    async def _register(self, node: ScriptedNode) -> Object:
        obj = node_object(
            node.name,
            now=self._clock.now(),
            labels={SCRIPTED_LABEL: "true", **node.labels},
            annotations=node.annotations,
            taints=node.taints,
            unschedulable=node.unschedulable,
            capacity=node.capacity,
            allocatable=node.allocatable,
            conditions=node_conditions(self._clock.now(), ready=node.ready),
        )
        try:
            return await self._api.create(NODES, obj)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        # Taints and cordons that people or controllers set meanwhile stay, as with a kubelet that comes back.
        await self._api.patch(NODES, node.name, {"metadata": {"labels": obj["metadata"]["labels"]}})
        return await self._api.patch(NODES, node.name, {"status": obj["status"]}, subresource="status")

    async def _take_lease(self, node: Object) -> None:
        lease = node_lease(node, renew_time=timestamp_micro(self._clock.now()))
        try:
            await self._api.create(LEASES, lease, namespace=NODE_LEASES)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            await self._renew(name_of(node))

    async def _beat(self, name: str) -> None:
        try:
            await self._renew(name)
            await self._correct_status(name)
        except ApiError as error:
            # A node or lease that somebody deleted stays deleted, as with a kubelet until its restart.
            log.log(logging.DEBUG if error.code == 404 else logging.WARNING, "%s: %s", name, error.message)

    async def _renew(self, name: str) -> None:
        renewed = {"spec": {"holderIdentity": name, "renewTime": timestamp_micro(self._clock.now())}}
        await self._api.patch(LEASES, name, renewed, namespace=NODE_LEASES)

    async def _correct_status(self, name: str) -> None:
        """Take back what the node lifecycle controller assumed while the node was silent."""
        assert self._seen is not None
        node = self._seen.get(name)
        if node is None:
            return
        wanted = node_conditions(self._clock.now(), ready=self._nodes[name].ready)
        current = {c["type"]: c["status"] for c in (node.get("status") or {}).get("conditions") or ()}
        if all(current.get(c["type"]) == c["status"] for c in wanted):
            return
        await self._api.patch(NODES, name, {"status": {"conditions": wanted}}, subresource="status")


def _lasts(failure: Failure, elapsed: float) -> bool:
    return failure.after <= elapsed < failure.after + failure.seconds
