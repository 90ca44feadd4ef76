"""A pod's sandbox: made together with its volumes, and the ways into it from this process.

Source: pkg/kubelet/kuberuntime/kuberuntime_manager.go (SyncPod, steps 2 to 4), kuberuntime_sandbox.go.
"""

from __future__ import annotations

import asyncio

from podbay.aio.finishing import finish
from podbay.errors import StartError
from podbay.node.mounting import PodMounts
from podbay.node.observed import SandboxStatus
from podbay.node.parts import NodeParts
from podbay.node.podspec import pod_text
from podbay.node.record import PodRecord
from podbay.node.sandbox import NO_CLUSTER_DNS, insists_on_cluster_dns, sandbox_spec
from podbay.node.volumes.keeper import runtime_volumes
from podbay.objects.events import EventType

__all__ = ["PodSandbox"]

_RETRY_SECONDS = 10.0
"""After a sandbox that could not be made."""
_NO_USER_NAMESPACES = "can't set `spec.hostUsers: false`, runtime does not support user namespaces"
"""The kubelet's words (pkg/kubelet/userns)."""


class PodSandbox:
    """Keeps the record's sandbox. `old` are those it took the place of; they go with the pod."""

    def __init__(self, parts: NodeParts, record: PodRecord, mounts: PodMounts, *, old: list[str]) -> None:
        self._parts, self._record, self._mounts = parts, record, mounts
        self.old = old
        self._retry_at = 0.0
        self._port_problem = ""

    def next_look(self) -> float | None:
        """Seconds until another try; None when none is due."""
        left = self._retry_at - self._parts.clock.monotonic()
        return left if left > 0 else None

    async def make(self) -> bool:
        """Make volumes and sandbox at once; False when something is missing, it is tried again then."""
        if self.next_look() is not None or not await self._mounts.look():
            return False
        self._tell()
        return await finish(self._make())

    async def _make(self) -> bool:
        parts, record = self._parts, self._record
        if record.pod["spec"].get("hostUsers") is False:
            # Its pod was let in with rights that only a user namespace makes harmless.
            return self._fail(_NO_USER_NAMESPACES)
        lost = record.sandbox
        spec = sandbox_spec(
            record.pod,
            attempt=lost.attempt + 1 if lost is not None else 0,
            volumes=runtime_volumes(record.pod),
            node_hostname=parts.hostname,
        )
        sandbox, mounted = await asyncio.gather(
            parts.runtime.create_sandbox(spec), self._mounts.make(), return_exceptions=True
        )
        if isinstance(mounted, BaseException) and not isinstance(mounted, StartError):
            raise mounted
        if isinstance(sandbox, StartError):
            return self._fail(str(sandbox))
        if isinstance(sandbox, BaseException):
            raise sandbox
        if lost is not None:
            self.old.append(lost.id)
        record.sandbox = sandbox
        await self.open_ways_in()
        return True

    def _fail(self, problem: str) -> bool:
        self._event("Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {problem}")
        self._retry_at = self._parts.clock.monotonic() + _RETRY_SECONDS
        return False

    async def open_ways_in(self) -> None:
        """What listens for the pod in this process; after a restart of the agent nobody does yet."""
        sandbox: SandboxStatus | None = self._record.sandbox
        if sandbox is None or not sandbox.ready:
            return
        await self._parts.gate.open(sandbox)
        problem = await self._parts.host_ports.open(self._record.pod, sandbox)
        if problem and problem != self._port_problem:
            self._event("Warning", "HostPortConflict", problem)
        self._port_problem = problem

    def _tell(self) -> None:
        """What people should know of a sandbox that is about to be made."""
        pod = self._record.pod
        if self._record.sandbox is not None:
            text = "Pod sandbox changed, it will be killed and re-created."
            self._event("Normal", "SandboxChanged", text)
        if insists_on_cluster_dns(pod):
            words = NO_CLUSTER_DNS.format(policy='"ClusterFirstWithHostNet"')
            self._event("Warning", "MissingClusterDNS", f'pod: "{pod_text(pod)}". {words}')
        for warning in self._parts.warnings(pod):
            self._event("Warning", "NotSupportedHere", warning)

    def _event(self, type: EventType, reason: str, message: str) -> None:  # noqa: A002
        self._parts.recorder.pod(self._record.pod, type, reason, message)
