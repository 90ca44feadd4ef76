"""The node agent: registers the node, gives every pod bound to it a worker, and passes on what they must know.

A NodeHost (embedded/nodes.py). After a restart it takes over what it finds: containers that run go on, ended ones keep
status and logs, what belongs to no pod is removed. Leaving stops no container. Source: pkg/kubelet/kubelet.go.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from podbay.aio.clock import Clock
from podbay.aio.informer import Informer, metadata_only
from podbay.aio.tasks import TaskGroup
from podbay.apiserver.streams import NodeStreams
from podbay.errors import ClosedError, PodbayError, RuntimeUnavailableError, StartError
from podbay.node.admission import refusal
from podbay.node.api_gate import ApiGate, ServiceAddress
from podbay.node.credential_providers import CredentialProviders
from podbay.node.disk_watch import DiskWatch
from podbay.node.disturbances import Disturbances
from podbay.node.fields import NodeFacts
from podbay.node.handlers import Handlers
from podbay.node.host_ports import HostPorts
from podbay.node.image_garbage import ImageGarbage, disk_space
from podbay.node.labels import POD_UID, VOLUMES
from podbay.node.machine import Machine, look_at_machine
from podbay.node.metering import Meter, Owner, machine_totals
from podbay.node.observed import ContainerStatus, RuntimeInfo, RuntimeState, SandboxStatus
from podbay.node.parts import PODS, NodeParts
from podbay.node.podworker import PodWorker
from podbay.node.provider_config import Provider
from podbay.node.pulling import ImagePuller
from podbay.node.recorder import EventRecorder
from podbay.node.references import CONFIG_MAPS, SECRETS, object_names
from podbay.node.registration import NodeRegistration
from podbay.node.restarts import RestartBackoff
from podbay.node.runtime import Runtime
from podbay.node.sandbox import NO_CLUSTER_DNS
from podbay.node.shortfalls import shortfalls
from podbay.node.streams import AgentStreams
from podbay.node.view import Outcome
from podbay.node.volumes.keeper import PodVolumes, VolumeKeeper
from podbay.node.volumes.tokens import PodTokens
from podbay.objects.api import ClusterApi
from podbay.objects.meta import Object, labels_of, name_of, namespace_of, uid_of
from podbay.objects.nodes import NODES
from podbay.objects.resource import GVR

__all__ = ["AgentOptions", "NodeAgent"]

log = logging.getLogger(__name__)

_SERVICES = GVR("", "v1", "services")
_RETRY_SECONDS = 1.0
_RETRY_MAXIMUM_SECONDS = 60.0
"""How far the pause grows before a worker that fails again and again is replaced; a deletion waits that long, too."""

OpenRuntime = Callable[[Path, Clock], AbstractAsyncContextManager[Runtime]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """name is the node's; runtime opens the container runtime on a directory.

    storage is where the node keeps its data; None: nothing is kept, containers and files go when the agent ends.
    """

    name: str
    storage: Path | None
    runtime: OpenRuntime
    providers: Sequence[tuple[Provider, Path]] = ()
    """Credential providers for images, each with its program."""


@dataclass(slots=True)
class _Running:
    """What exists while the agent runs."""

    parts: NodeParts
    group: TaskGroup
    workers: dict[str, PodWorker] = field(default_factory=dict)
    sandboxes: dict[str, str] = field(default_factory=dict)
    """Pod uid by sandbox id."""
    meter: Meter | None = None

    def containers(self) -> Iterator[Owner]:
        """Every attempt of every container, with its pod."""
        for uid, worker in self.workers.items():
            for status in worker.record.all():
                yield Owner(uid, status)


def _elsewhere() -> None:
    """What an engine's own machine uses as a whole is not to be had from here."""


class NodeAgent:
    """One node whose pods are containers. `run` lives until it is cancelled."""

    def __init__(self, options: AgentOptions) -> None:
        self._options = options
        self._storage = options.storage or Path()
        self._running: _Running | None = None
        self.disturbances = Disturbances()
        """Faults that somebody asked for; none by default."""
        self._server: tuple[str, int] | None = None
        self._started = False
        agent_streams: NodeStreams = AgentStreams(self.worker, lambda: self._runtime, self._meter)
        self.streams: dict[str, NodeStreams] = {options.name: agent_streams}

    @property
    def started(self) -> bool:
        """The node is registered, its pods are taken over."""
        return self._started

    def reach_server(self, host: str, port: int) -> None:
        """Where the API server listens on this machine, for pods that ask for it. Call it before `run`."""
        self._server = (host, port)

    def worker(self, uid: str) -> PodWorker | None:
        """The worker of the pod with this uid."""
        return self._running.workers.get(uid) if self._running is not None else None

    def _meter(self) -> Meter | None:
        return self._running.meter if self._running is not None else None

    @property
    def runtime(self) -> Runtime:
        """The container runtime. Raises ClosedError while the agent does not run."""
        if self._runtime is None:
            raise ClosedError(f"node {self._options.name!r} is not running")
        return self._runtime

    @property
    def _runtime(self) -> Runtime | None:
        return self._running.parts.runtime if self._running is not None else None

    async def run(self, api: ClusterApi, clock: Clock) -> None:
        """Open the runtime, register, adopt, and follow pods and containers."""
        with ExitStack() as stack:
            kept = self._options.storage
            self._storage = kept or Path(stack.enter_context(TemporaryDirectory(prefix="podbay-node-")))
            # Processes in containers pass through it on their way to volumes, whoever they run as.
            self._storage.mkdir(parents=True, exist_ok=True)
            self._storage.chmod(0o711)
            async with self._options.runtime(self._storage / "runtime", clock) as runtime:
                try:
                    await self._run_on(runtime, api, clock)
                finally:
                    if kept is None:
                        await runtime.reset()

    async def _run_on(self, runtime: Runtime, api: ClusterApi, clock: Clock) -> None:
        # A pod's worker may still be opening a listener while it is being ended: they are closed after the last worker.
        async with AsyncExitStack() as after, TaskGroup(f"node/{self._options.name}") as group:
            info = await runtime.info()
            machine = look_at_machine(self._storage)
            services = Informer(api, _SERVICES, clock)
            group.start("services", services.run())
            await services.synced.wait()
            parts = self._parts(api, clock, runtime=runtime, info=info, machine=machine, services=services)
            after.push_async_callback(parts.gate.aclose)
            after.callback(parts.host_ports.close_all)
            self._running = running = _Running(parts, group)
            here = info.features.host_paths
            running.meter = Meter(runtime, clock, running.containers, machine_totals if here else _elsewhere)
            group.start("events", parts.recorder.run())
            parts.recorder.node("Normal", "Starting", "Starting kubelet.")
            for note in info.features.notes:
                parts.recorder.node("Warning", "RuntimeLimited", note)
            words = NO_CLUSTER_DNS.format(policy='"ClusterFirst"')
            parts.recorder.node("Warning", "MissingClusterDNS", words)
            registration = NodeRegistration(
                api, clock, name=self._options.name, machine=machine, runtime=info
            )
            try:
                await self._follow(running, registration)
            finally:
                self._running, self._started = None, False

    def _parts(
        self,
        api: ClusterApi,
        clock: Clock,
        *,
        runtime: Runtime,
        info: RuntimeInfo,
        machine: Machine,
        services: Informer,
    ) -> NodeParts:
        name = self._options.name
        facts = NodeFacts(name=name, ip=machine.address, allocatable=machine.allocatable())
        recorder = EventRecorder(api, clock, node=name)
        tokens = PodTokens(api, clock)
        volumes = PodVolumes(
            api=api, runtime=runtime, tokens=tokens, node=facts, host_paths=info.features.host_paths
        )
        return NodeParts(
            api=api,
            clock=clock,
            runtime=runtime,
            runtime_name=info.name,
            recorder=recorder,
            puller=ImagePuller(
                self.disturbances.images(runtime, clock),
                clock,
                recorder,
                CredentialProviders(self._options.providers, clock),
            ),
            volumes=VolumeKeeper(volumes),
            tokens=tokens,
            handlers=Handlers(runtime, reaches_pods=info.features.pod_ip_from_host),
            backoff=RestartBackoff(),
            facts=facts,
            hostname=machine.hostname,
            machine_memory=machine.memory,
            services=lambda: list(services.store.values()),
            gate=ApiGate(runtime, self._service_address(services)),
            host_ports=HostPorts(),
            refuse=lambda pod: self._refuse(api, pod, machine.allocatable()),
            server=self._server,
            read_profile=self._read_profile,
            warnings=lambda pod: shortfalls(pod, info.features),
        )

    async def _refuse(self, api: ClusterApi, pod: Object, capacity: Mapping[str, str]) -> Outcome | None:
        assert self._running is not None
        node = await api.get(NODES, self._options.name)
        workers = self._running.workers.items()
        others = [w.record.pod for uid, w in workers if uid != uid_of(pod) and not w.record.ended]
        return refusal(pod, others, capacity, labels_of(node))

    def _service_address(self, services: Informer) -> ServiceAddress | None:
        """The `kubernetes` service's address, and what is behind it."""
        service = services.get("kubernetes", "default")
        if service is None or self._server is None:
            return None
        spec = service["spec"]
        return ServiceAddress(spec["clusterIP"], int(spec["ports"][0]["port"]), self._server)

    def _read_profile(self, name: str) -> Mapping[str, Any]:
        path = self._storage / "seccomp" / name
        try:
            profile = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            message = f"failed to load seccomp profile {path}: {error}"
            raise StartError("CreateContainerError", message) from error
        return profile if isinstance(profile, dict) else {}

    async def _follow(self, running: _Running, registration: NodeRegistration) -> None:
        parts, group = running.parts, running.group
        selector = f"spec.nodeName={self._options.name}"
        pods = Informer(parts.api, PODS, parts.clock, field_selector=selector)
        group.start("pods", pods.run())
        await pods.synced.wait()
        await self._adopt_all(running, pods)
        for resource, kind in ((SECRETS, "secrets"), (CONFIG_MAPS, "configmaps")):
            informer = Informer(parts.api, resource, parts.clock, transform=metadata_only)
            informer.add_handler(self._on_object(running, kind))
            group.start(kind, informer.run())
        group.start("disk", DiskWatch(parts, lambda: list(running.workers.values())).run())
        if parts.runtime_name == "runc":
            garbage = ImageGarbage(
                parts.runtime, parts.clock, parts.recorder, lambda: disk_space(self._storage)
            )
            group.start("image garbage", garbage.run())
        await registration.register()
        self._started = True
        group.start("heartbeat", registration.run())
        await self._follow_runtime(running)

    # --- pods ---------------------------------------------------------------------------------------------------

    async def _adopt_all(self, running: _Running, pods: Informer) -> None:
        """Workers for the pods there are, with what the runtime has of them; the rest is removed."""
        state = await running.parts.runtime.list()
        by_uid = {uid_of(pod): pod for pod in pods.store.values()}
        for pod in by_uid.values():
            self._start(running, pod, state)
        for sandbox in state.sandboxes:
            if sandbox.pod_uid not in by_uid:
                await self._remove_stray(running.parts, sandbox)
        known = set(by_uid)

        def changed(old: Object | None, new: Object | None) -> None:
            if new is not None and uid_of(new) in known:
                # Seen before: the first call repeats what was adopted.
                known.discard(uid_of(new))
                return
            self._on_pod(running, old, new)

        pods.add_handler(changed)

    async def _remove_stray(self, parts: NodeParts, sandbox: SandboxStatus) -> None:
        log.info("removing what is left of pod %s/%s", sandbox.pod_namespace, sandbox.pod_name)
        await parts.runtime.remove_sandbox(sandbox.id)
        for volume in filter(None, sandbox.labels.get(VOLUMES, "").split(",")):
            await parts.runtime.remove_volume(volume)

    def _on_pod(self, running: _Running, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            if (gone := running.workers.get(uid_of(old))) is not None:
                gone.removed()
            return
        if old is not None and uid_of(old) != uid_of(new) and (before := running.workers.get(uid_of(old))):
            before.removed()
        worker = running.workers.get(uid_of(new))
        if worker is not None:
            worker.update(new)
        else:
            self._start(running, new, RuntimeState((), ()))

    def _start(
        self, running: _Running, pod: Object, state: RuntimeState, pause: float = _RETRY_SECONDS
    ) -> None:
        """pause is how long its worker waits to be replaced when it fails."""
        uid = uid_of(pod)
        sandboxes = sorted((s for s in state.sandboxes if s.pod_uid == uid), key=lambda s: s.attempt)
        ids = {s.id for s in sandboxes}
        worker = PodWorker(
            running.parts,
            pod,
            sandbox=sandboxes[-1] if sandboxes else None,
            containers=[c for c in state.containers if c.sandbox_id in ids],
            old_sandboxes=[s.id for s in sandboxes[:-1]],
        )
        running.workers[uid] = worker
        running.group.start(
            f"pod/{namespace_of(pod)}/{name_of(pod)}", self._supervise(running, uid, worker, pause)
        )

    async def _supervise(self, running: _Running, uid: str, worker: PodWorker, pause: float) -> None:
        """Run a worker; one that fails for a reason nobody foresaw is replaced by one that starts from what exists."""
        clock, began = running.parts.clock, running.parts.clock.monotonic()
        try:
            await worker.run()
        except Exception:
            log.exception(
                "pod %s/%s: its worker failed", namespace_of(worker.record.pod), name_of(worker.record.pod)
            )
            if clock.monotonic() - began > 2 * _RETRY_MAXIMUM_SECONDS:
                pause = _RETRY_SECONDS
            state = await self._state_after(running, pause)
            # The pod comes last: until here the old worker was told of its changes.
            self._start(running, worker.record.pod, state, min(2 * pause, _RETRY_MAXIMUM_SECONDS))
            return
        if running.workers.get(uid) is worker:
            del running.workers[uid]

    async def _state_after(self, running: _Running, pause: float) -> RuntimeState:
        while True:
            await running.parts.clock.sleep(pause)
            try:
                return await running.parts.runtime.list()
            except (PodbayError, OSError) as error:
                log.warning("node %s: %s", self._options.name, error)

    # --- what pods name, what containers do -----------------------------------------------------------------------

    def _on_object(self, running: _Running, kind: str) -> Callable[[Object | None, Object | None], None]:
        def changed(old: Object | None, new: Object | None) -> None:
            obj = new if new is not None else old
            assert obj is not None
            for worker in running.workers.values():
                pod = worker.record.pod
                if namespace_of(pod) == namespace_of(obj) and (kind, name_of(obj)) in object_names(pod):
                    worker.objects_changed()

        return changed

    async def _follow_runtime(self, running: _Running) -> None:
        """Pass on what the runtime tells; subscribe again, and look at everything, when it was lost."""
        runtime, clock = running.parts.runtime, running.parts.clock
        while True:
            try:
                events = await runtime.events()
                try:
                    state = await runtime.list()
                    for sandbox in state.sandboxes:
                        self._observe(running, sandbox)
                    for container in state.containers:
                        self._observe(running, container)
                    async for change in events:
                        self._observe(running, change)
                finally:
                    await events.aclose()
            except RuntimeUnavailableError as error:
                log.warning("node %s: %s", self._options.name, error)
            except (PodbayError, OSError):
                log.exception("node %s: following the runtime", self._options.name)
            await clock.sleep(_RETRY_SECONDS)

    def _observe(self, running: _Running, item: ContainerStatus | SandboxStatus) -> None:
        uid = item.pod_uid if isinstance(item, SandboxStatus) else item.labels.get(POD_UID, "")
        worker = running.workers.get(uid)
        if worker is not None:
            worker.observe(self.disturbances.seen(item))
