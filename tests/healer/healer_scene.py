"""A namespace with pods on the embedded cluster, a scripted Airflow, and healers: what tests of rounds have in common."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from patience import eventually
from scripted_airflow import ScriptedAirflow, scripted_airflow

from podbay.aio.clock import SystemClock
from podbay.healer.airflow_api import AirflowApi, AirflowLogin
from podbay.healer.reconciler import Reconciler, Round
from podbay.healer.rules import Rules
from podbay.healer.sites import Site
from podbay.kube.client import PODS, KubeClient
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.kube.lease import DeskOptions, LeaseDesk, pods_of
from podbay.kube.store import SharedStore
from podbay.objects.meta import Object, name_of
from podbay.pods.build import build_pod
from podbay.pods.identity import TaskIdentity
from podbay.pods.request import PodRequest
from podbay.testing import Environment
from podbay.testing.requests import Requests

__all__ = ["LONG_AGO", "RULES", "Scene", "opened_scene"]

# Pods of these tests are seconds old.
RULES = Rules(deployment="prod", young=0, finished=0, ended=0, absent=0, cleared=0, superseded=0)
LONG_AGO = "2020-01-01T00:00:00Z"


class Scene:
    """A namespace with pods, an Airflow, and healers."""

    def __init__(
        self, client: KubeClient, store: SharedStore, airflow: ScriptedAirflow, namespace: str
    ) -> None:
        self.client, self.store, self.airflow, self.namespace = client, store, airflow, namespace
        self.stack = AsyncExitStack()

    async def pod(self, task_id: str, *, own: TaskIdentity | None = None, **more: Any) -> Object:
        own = own or TaskIdentity(deployment="prod", dag_id="d", run_id="r:1+", task_id=task_id)
        marks = {"scripted.podbay.dev/run-seconds": "3600"}
        request = PodRequest(
            identity=own, namespace=self.namespace, image="busybox", annotations=marks, **more
        )
        made = await self.client.create(PODS, build_pod(request), namespace=self.namespace)
        await eventually(lambda: self.runs(name_of(made)))
        return made

    def runs(self, name: str) -> bool:
        found = self.store.get(self.namespace, name)
        return found is not None and found["status"].get("phase") == "Running"

    async def api(self) -> AirflowApi:
        login = AirflowLogin(url=self.airflow.url)
        return await self.stack.enter_async_context(AirflowApi(login, SystemClock()))

    async def healer(self, rules: Rules = RULES, **more: Any) -> Reconciler:
        return Reconciler(self.client, self.store, await self.api(), rules, SystemClock(), **more)

    def site(self, name: str = "") -> Site:
        return Site(self.client, self.store, name, self.namespace)

    async def heal(self, rules: Rules = RULES, *, dry_run: bool = False, **more: Any) -> Round:
        may_act = {"may_act": more.pop("may_act")} if "may_act" in more else {}
        return await (await self.healer(rules, **more)).round(dry_run=dry_run, **may_act)

    def is_ending(self, pod: Object) -> bool:
        found = self.store.get(self.namespace, name_of(pod))
        return found is None or "deletionTimestamp" in found["metadata"]


@asynccontextmanager
async def opened_scene(environment: Environment) -> AsyncIterator[Scene]:
    """In a namespace of its own."""
    namespace = f"h-{uuid.uuid4().hex[:8]}"
    desk = LeaseDesk(DeskOptions(linger_seconds=0))
    with Requests(environment.kubeconfig) as api:
        api.create_namespace(namespace)
        async with (
            scripted_airflow() as airflow,
            desk.lease(load_kubeconfig(environment.kubeconfig)) as cluster,
            cluster.watch(pods_of(namespace)) as store,
        ):
            await store.wait_synced()
            found = Scene(cluster.client, store, airflow, namespace)
            async with found.stack:
                yield found
        await desk.aclose()
        api.call("DELETE", f"/api/v1/namespaces/{namespace}")
