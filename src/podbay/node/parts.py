"""What every pod's worker shares: the node it is on and the parts that do the work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from podbay.aio.clock import Clock
from podbay.node.api_gate import ApiGate
from podbay.node.fields import NodeFacts
from podbay.node.handlers import Handlers
from podbay.node.host_ports import HostPorts
from podbay.node.pulling import ImagePuller
from podbay.node.recorder import EventRecorder
from podbay.node.restarts import RestartBackoff
from podbay.node.runtime import Runtime
from podbay.node.security import ReadProfile
from podbay.node.view import Outcome
from podbay.node.volumes.keeper import VolumeKeeper
from podbay.node.volumes.tokens import PodTokens
from podbay.objects.api import ClusterApi
from podbay.objects.meta import Object
from podbay.objects.resource import GVR

__all__ = ["PODS", "NodeParts"]

PODS = GVR("", "v1", "pods")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeParts:
    """See the module docstring. machine_memory in bytes."""

    api: ClusterApi
    clock: Clock
    runtime: Runtime
    runtime_name: str
    recorder: EventRecorder
    puller: ImagePuller
    volumes: VolumeKeeper
    tokens: PodTokens
    handlers: Handlers
    backoff: RestartBackoff
    facts: NodeFacts
    hostname: str
    machine_memory: int
    services: Callable[[], Sequence[Object]]
    gate: ApiGate
    host_ports: HostPorts
    refuse: Callable[[Object], Awaitable[Outcome | None]]
    """Why this node does not take a pod in that was bound to it; None when it does."""
    server: tuple[str, int] | None
    """Where the API server listens on this machine."""
    read_profile: ReadProfile
    warnings: Callable[[Object], Sequence[str]]
    """What the pod asks for and this node cannot do, one sentence each."""
