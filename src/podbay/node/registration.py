"""The node's own object: registered at start, its lease renewed, its status put right when others changed it.

Source: pkg/kubelet/kubelet_node_status.go, pkg/kubelet/nodelease.
"""

from __future__ import annotations

import logging

from podbay.aio.clock import Clock
from podbay.errors import ApiError
from podbay.node.machine import Machine
from podbay.node.observed import RuntimeInfo
from podbay.objects.api import ClusterApi
from podbay.objects.events import timestamp, timestamp_micro
from podbay.objects.meta import Object
from podbay.objects.nodes import (
    LEASES,
    NODE_LEASES,
    NODES,
    NodeInfoFields,
    node_conditions,
    node_lease,
    node_object,
)

__all__ = ["NodeRegistration"]

log = logging.getLogger(__name__)

RENEW_SECONDS = 10.0
"""A quarter of the lease's 40 s, as the kubelet does."""
LIMITED = "RuntimeLimited"
"""The condition that says what the container runtime cannot do on this machine."""


class NodeRegistration:
    """One node. `register` once, then `run`."""

    def __init__(
        self, api: ClusterApi, clock: Clock, *, name: str, machine: Machine, runtime: RuntimeInfo
    ) -> None:
        self._api, self._clock, self._name = api, clock, name
        self._machine, self._runtime = machine, runtime

    async def register(self) -> None:
        """Create the Node, or correct the one that is there; take the lease."""
        node = self._object()
        try:
            node = await self._api.create(NODES, node)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            labels = {"metadata": {"labels": node["metadata"]["labels"]}}
            # Taints and cordons that people or controllers set meanwhile stay.
            await self._api.patch(NODES, self._name, labels)
            node = await self._api.patch(NODES, self._name, {"status": node["status"]}, subresource="status")
        await self._take_lease(node)

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await self._clock.sleep(RENEW_SECONDS)
            try:
                await self._renew()
                await self._correct_status()
            except ApiError as error:
                # A node or lease that somebody deleted stays deleted until the next start.
                level = logging.DEBUG if error.code == 404 else logging.WARNING
                log.log(level, "node %s: %s", self._name, error.message)

    def _object(self) -> Object:
        machine, runtime = self._machine, self._runtime
        return node_object(
            self._name,
            now=self._clock.now(),
            capacity=machine.capacity(),
            allocatable=machine.allocatable(),
            conditions=self._conditions(),
            addresses=[
                {"type": "InternalIP", "address": machine.address},
                {"type": "Hostname", "address": self._name},
            ],
            info=NodeInfoFields(
                container_runtime_version=f"{runtime.name}://{runtime.version}",
                os_image=runtime.os_image or "Linux",
                kernel_version=runtime.kernel_version or machine.kernel,
                architecture=runtime.architecture,
                machine_id=machine.machine_id,
                boot_id=machine.boot_id,
            ),
        )

    def _conditions(self) -> list[Object]:
        now = self._clock.now()
        notes = list(self._runtime.features.notes)
        moment = timestamp(now)
        limited = {
            "type": LIMITED,
            "status": "True" if notes else "False",
            "lastHeartbeatTime": moment,
            "lastTransitionTime": moment,
            "reason": "FeaturesMissing" if notes else "FeaturesComplete",
            "message": "; ".join(notes) if notes else "the container runtime does all that pods may ask for",
        }
        *pressure, ready = node_conditions(now)
        return [*pressure, limited, ready]

    async def _take_lease(self, node: Object) -> None:
        lease = node_lease(node, renew_time=timestamp_micro(self._clock.now()))
        try:
            await self._api.create(LEASES, lease, namespace=NODE_LEASES)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            await self._renew()

    async def _renew(self) -> None:
        renewed = {"spec": {"holderIdentity": self._name, "renewTime": timestamp_micro(self._clock.now())}}
        await self._api.patch(LEASES, self._name, renewed, namespace=NODE_LEASES)

    async def _correct_status(self) -> None:
        """Take back what the node lifecycle controller assumed while the node was silent."""
        node = await self._api.get(NODES, self._name)
        wanted = self._conditions()
        current = {c["type"]: c["status"] for c in (node.get("status") or {}).get("conditions") or ()}
        if any(current.get(c["type"]) != c["status"] for c in wanted):
            patch = {"status": {"conditions": wanted}}
            await self._api.patch(NODES, self._name, patch, subresource="status")
