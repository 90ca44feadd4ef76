"""A whole control plane in one process under a virtual clock: API server, controllers, scheduler, scripted nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from podbay.aio.informer import InformerSet
from podbay.aio.tasks import TaskGroup
from podbay.aio.virtual import VirtualClock
from podbay.apiserver.auth.jwt import SigningKey
from podbay.apiserver.dispatch import Dispatcher
from podbay.apiserver.server import ApiServer, ServerOptions, build_core
from podbay.apiserver.storage import Store
from podbay.embedded.bootstrap import bootstrap
from podbay.embedded.controllers import ControllerOptions, run_controllers, served_resources
from podbay.embedded.scheduler import SchedulerOptions, start_scheduler
from podbay.embedded.scripted import Script, ScriptedNode, ScriptedNodes
from podbay.errors import ApiError
from podbay.objects.api import ClusterApi
from podbay.objects.meta import Object
from podbay.objects.resource import GVR

PODS = GVR("", "v1", "pods")
NODES = GVR("", "v1", "nodes")
NAMESPACES = GVR("", "v1", "namespaces")
CONFIG_MAPS = GVR("", "v1", "configmaps")
SERVICE_ACCOUNTS = GVR("", "v1", "serviceaccounts")
CLAIMS = GVR("", "v1", "persistentvolumeclaims")
QUOTAS = GVR("", "v1", "resourcequotas")
EVENTS = GVR("", "v1", "events")
PRIORITY_CLASSES = GVR("scheduling.k8s.io", "v1", "priorityclasses")


@dataclass
class Plane:
    """What a test holds: the API as an administrator, the clock, the nodes."""

    api: ClusterApi
    clock: VirtualClock
    host: ScriptedNodes
    server: ApiServer

    async def find(self, resource: GVR, name: str, namespace: str | None = "default") -> Object | None:
        try:
            return await self.api.get(resource, name, namespace=namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def until(self, question: Callable[[], Any], *, seconds: float = 60, step: float = 0.5) -> Any:
        """Move the time until the awaited answer is true; its value."""
        await self.clock.settle()
        waited = 0.0
        while not (answer := await question()):
            assert waited < seconds, f"not within {seconds} virtual seconds"
            await self.clock.advance(step)
            waited += step
        return answer

    async def phase(self, name: str, wanted: str, *, seconds: float = 60) -> Object:
        """Wait until a pod of the default namespace is in the phase."""

        async def reached() -> Object | None:
            pod = await self.find(PODS, name)
            return pod if pod and pod["status"].get("phase") == wanted else None

        return await self.until(reached, seconds=seconds)  # type: ignore[no-any-return]

    async def gone(
        self, resource: GVR, name: str, namespace: str | None = "default", *, seconds: float = 60
    ) -> None:
        async def missing() -> bool:
            return await self.find(resource, name, namespace) is None

        await self.until(missing, seconds=seconds)

    async def run_pod(self, name: str, namespace: str = "default", **spec: Any) -> Object:
        """Create a pod; `requests`, `labels`, `annotations` and `owners` are put where they belong."""
        return await self.api.create(PODS, pod_object(name, **spec), namespace=namespace)

    async def events(self, reason: str, namespace: str = "default") -> list[Object]:
        return [e for e in (await self.api.list(EVENTS, namespace=namespace)).items if e["reason"] == reason]


def pod_object(name: str, **spec: Any) -> Object:
    metadata: Object = {"name": name}
    for key, where in (("labels", "labels"), ("annotations", "annotations"), ("owners", "ownerReferences")):
        if key in spec:
            metadata[where] = spec.pop(key)
    container: Object = {"name": "main", "image": "localhost/bb:1"}
    if "requests" in spec:
        container["resources"] = {"requests": spec.pop("requests")}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [container], "restartPolicy": "Never", **spec},
    }


RUN_FOREVER = Script.from_data([{"containers": {"*": {"run": "forever"}}}])


@asynccontextmanager
async def control_plane(
    nodes: Sequence[ScriptedNode] = (ScriptedNode(name="n1"),),
    script: Script = RUN_FOREVER,
    *,
    namespace_grace_seconds: float = 0.0,
    clock: Any = None,
    **options: Any,
) -> AsyncIterator[Plane]:
    """Everything running. A clock of the machine may be given for tests of throughput; `Plane` then cannot wait."""
    virtual = clock is None
    clock = VirtualClock() if virtual else clock
    key = SigningKey.of(ec.generate_private_key(ec.SECP256R1()))
    server_options = ServerOptions(
        state=None, signing_key=key, verification_keys={key.public.kid: key.public}, clock=clock
    )
    with Store.open(None, clock=clock) as store:
        core = build_core(store, server_options)
        server = ApiServer(core, Dispatcher(core, lambda _request: None))
        api = server.api()
        await bootstrap(api, core.registry, port=443)
        async with TaskGroup("plane") as group:
            host = ScriptedNodes(nodes, script)
            core.nodes.update(host.streams)
            group.start("nodes", host.run(server.api(agent="kubelet"), clock))
            informers = InformerSet(server.api(), group, clock)
            controllers = run_controllers(
                server.api(agent="kube-controller-manager"),
                group,
                clock,
                ControllerOptions(
                    served=served_resources(core.registry),
                    root_ca="PEM",
                    namespace_grace_seconds=namespace_grace_seconds,
                    **options,
                ),
                informers=informers,
            )
            await controllers.wait_ready()
            scheduler_api = server.api(agent="kube-scheduler")
            await start_scheduler(scheduler_api, group, clock, options=SchedulerOptions(seed=1)).wait_ready()
            if virtual:
                await clock.settle()
            yield Plane(api, clock, host, server)
