"""The controllers of the embedded control plane: what kube-controller-manager does for the kinds served here.

Each is a pure decision and a thin loop around it (`base.Loop`), written against `ClusterApi`. `start_controllers`
puts them together for a server in this process, `run_controllers` for any API.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from podbay.aio.clock import Clock
from podbay.aio.informer import InformerSet
from podbay.aio.tasks import TaskGroup
from podbay.apiserver.registry import ResourceType
from podbay.apiserver.server import ApiServer
from podbay.embedded.controllers.base import (
    CLAIMS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    NAMESPACES,
    PODS,
    QUOTAS,
    SERVICE_ACCOUNTS,
    VOLUMES,
    Loop,
    Served,
    outline_finished,
)
from podbay.embedded.controllers.claims import ClaimController, LocalStorage, Provisioner
from podbay.embedded.controllers.event_expiry import EventExpiry
from podbay.embedded.controllers.garbage import GarbageCollector
from podbay.embedded.controllers.namespace import NamespaceController
from podbay.embedded.controllers.node_lifecycle import NodeLifecycle, TaintEviction
from podbay.embedded.controllers.per_namespace import PerNamespace, default_service_account, root_ca
from podbay.embedded.controllers.pod_gc import PodGarbageCollector
from podbay.embedded.controllers.quota import QuotaController
from podbay.embedded.controllers.roles import ClusterRoleAggregation
from podbay.embedded.controllers.volumes import VolumeController
from podbay.objects.api import ClusterApi
from podbay.objects.events import EVENTS
from podbay.objects.nodes import LEASES, NODES

__all__ = [
    "ControllerOptions",
    "Controllers",
    "LocalStorage",
    "Provisioner",
    "Served",
    "run_controllers",
    "served_resources",
    "start_controllers",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerOptions:
    """What the controllers need to know of their cluster."""

    served: Sequence[Served]
    """The collections of the API server (see `served_resources`)."""
    root_ca: str = ""
    """PEM text for the kube-root-ca.crt ConfigMaps; empty publishes none."""
    namespace_grace_seconds: float = 5.0
    """How long a deleted namespace is left alone, as in Kubernetes (namespaceDeletionGracePeriod): clients see it
    Terminating before it goes. 0 empties it at once."""
    terminated_pod_threshold: int = 12_500
    """Finished pods kept before the oldest are deleted (--terminated-pod-gc-threshold); 0 keeps all."""
    node_grace_seconds: float = 50.0
    """Seconds without a heartbeat until a node is Unknown (--node-monitor-grace-period since 1.32)."""
    event_ttl_seconds: float = 3600.0
    """Age at which Events are deleted (--event-ttl); 0 keeps them."""
    provisioner: Provisioner | None = field(default=None)
    """Where claims get their storage; None leaves them Pending."""


class _Controller(Protocol):
    @property
    def loop(self) -> Loop[str]: ...

    def watch(self, informers: InformerSet) -> None: ...


def served_resources(types: Iterable[ResourceType]) -> list[Served]:
    """The stored collections among the API server's resource types."""
    needed = {"list", "watch", "delete"}
    return [
        Served(t.gvr, t.kind, t.namespaced) for t in types if needed <= set(t.verbs) and not t.storage_key
    ]


def _build(api: ClusterApi, clock: Clock, options: ControllerOptions) -> list[_Controller]:
    served = options.served
    has = {s.gvr for s in served}
    found: list[_Controller] = []
    if NAMESPACES in has:
        found.append(NamespaceController(api, clock, served, grace_seconds=options.namespace_grace_seconds))
        if SERVICE_ACCOUNTS in has:
            found.append(PerNamespace(api, clock, default_service_account()))
        if CONFIG_MAPS in has and options.root_ca:
            found.append(PerNamespace(api, clock, root_ca(options.root_ca)))
    if PODS in has and NODES in has:
        found.append(PodGarbageCollector(api, clock, threshold=options.terminated_pod_threshold))
        found.append(TaintEviction(api, clock))
        if LEASES in has:
            found.append(NodeLifecycle(api, clock, grace_seconds=options.node_grace_seconds))
    if PODS in has and CLAIMS in has:
        volumes = VOLUMES in has
        found.append(ClaimController(api, clock, provisioner=options.provisioner, volumes=volumes))
        if volumes:
            found.append(VolumeController(api, clock))
    if CLUSTER_ROLES in has:
        found.append(ClusterRoleAggregation(api, clock))
    # These two take the informers that run already and slim ones for the rest, so they come last.
    if QUOTAS in has:
        found.append(QuotaController(api, clock, served))
    found.append(GarbageCollector(api, clock, served))
    if EVENTS in has and options.event_ttl_seconds > 0:
        found.append(EventExpiry(api, clock, ttl_seconds=options.event_ttl_seconds))
    return found


class Controllers:
    """The running controllers."""

    def __init__(self, loops: Sequence[Loop[str]], informers: InformerSet) -> None:
        self.loops = tuple(loops)
        self._informers = informers

    async def wait_ready(self) -> None:
        """Return when every controller has its first lists."""
        await self._informers.wait_synced()


async def start_controllers(
    server: ApiServer,
    group: TaskGroup,
    clock: Clock,
    *,
    ca: str = "",
    options: ControllerOptions | None = None,
) -> Controllers:
    """Start all controllers of a server and wait for their first lists. ca is the PEM text pods are to trust."""
    if options is None:
        options = ControllerOptions(served=served_resources(server.core.registry), root_ca=ca)
    api = server.api(agent="kube-controller-manager")
    controllers = run_controllers(api, group, clock, options)
    await controllers.wait_ready()
    return controllers


def run_controllers(
    api: ClusterApi,
    group: TaskGroup,
    clock: Clock,
    options: ControllerOptions,
    *,
    informers: InformerSet | None = None,
) -> Controllers:
    """Start all controllers that the served collections allow; they end with the group.

    Pass the informers of the scheduler and the nodes to share their copies.
    """
    informers = informers or InformerSet(api, group, clock)
    informers.keep(PODS, outline_finished)
    controllers = _build(api, clock, options)
    for controller in controllers:
        controller.watch(informers)
        group.start(f"controller/{controller.loop.name}", controller.loop.run())
    return Controllers([c.loop for c in controllers], informers)
