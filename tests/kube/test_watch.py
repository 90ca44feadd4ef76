"""One watch for a thousand pods, over real sockets, through cuts, expiry, refusals, silence and a restarted server."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from parts import CONFIGMAPS, a_pod, client_of, configmap, declare
from patience import PATIENCE, eventually

from podbay.aio.clock import SystemClock
from podbay.aio.tasks import TaskGroup
from podbay.embedded.cluster import ClusterOptions, EmbeddedCluster
from podbay.embedded.home import ClusterHome
from podbay.errors import ApiError, UnreachableError
from podbay.kube import client as client_module
from podbay.kube.client import PODS, KubeClient
from podbay.kube.config import ClusterConfig
from podbay.kube.kubeconfig import load_kubeconfig, parse_kubeconfig
from podbay.kube.lease import DeskOptions, LeaseDesk, desk, lease, pods_of
from podbay.kube.retry import Patience
from podbay.kube.store import SharedStore, Subscription
from podbay.kube.watch import Scope, keep_watching
from podbay.objects.meta import name_of, uid_of
from podbay.testing import Environment
from podbay.testing.requests import Requests


@asynccontextmanager
async def watching(client: KubeClient, scope: Scope) -> AsyncIterator[SharedStore]:
    store = SharedStore()
    async with TaskGroup("test") as group:
        group.start("watch", keep_watching(client, scope, store, SystemClock(), random.Random(1)))
        await asyncio.wait_for(store.wait_synced(), PATIENCE)
        yield store


def maps_of(namespace: str) -> Scope:
    return Scope(resource=CONFIGMAPS, namespace=namespace)


async def test_changes_arrive(podbay_cluster: Environment, podbay_namespace: str) -> None:
    async with (
        client_of(podbay_cluster.kubeconfig) as client,
        watching(client, maps_of(podbay_namespace)) as store,
    ):
        made = await client.create(CONFIGMAPS, configmap("a", x="1"), namespace=podbay_namespace)
        async with store.subscribe(podbay_namespace, "a", known=made) as changes:
            await client.patch(CONFIGMAPS, "a", {"data": {"x": "2"}}, namespace=podbay_namespace)
            await client.delete(CONFIGMAPS, "a", namespace=podbay_namespace)
            kinds = [(await asyncio.wait_for(changes.next(), PATIENCE)).type for _ in range(3)]
            assert kinds == ["ADDED", "MODIFIED", "DELETED"]


async def test_the_state_comes_as_a_stream(podbay_cluster: Environment, podbay_namespace: str) -> None:
    async with client_of(podbay_cluster.kubeconfig) as client:
        await client.create(CONFIGMAPS, configmap("a"), namespace=podbay_namespace)
        async with watching(client, maps_of(podbay_namespace)) as store:
            assert store.get(podbay_namespace, "a") is not None
            assert client.counter.total["list"] == 0


async def test_a_watch_that_is_cut_at_any_byte_misses_nothing(
    podbay_cluster: Environment, podbay_namespace: str, api: Requests
) -> None:
    ns = podbay_namespace
    async with (
        client_of(podbay_cluster.kubeconfig) as client,
        client_of(podbay_cluster.kubeconfig, agent="writer") as writer,
    ):
        declare(api, do="cut", bytes=700, match={"verb": "watch", "namespace": ns})
        async with watching(client, maps_of(ns)) as store:
            seen: list[tuple[str, str]] = []
            store.listen(lambda c: seen.append((c.type, name_of(c.object or {}))))
            for number in range(20):
                await writer.create(CONFIGMAPS, configmap(f"c{number}"), namespace=ns)
                if number % 3 == 0:
                    await writer.delete(CONFIGMAPS, f"c{number}", namespace=ns)
                await asyncio.sleep(random.random() * 0.03)
            api.call("DELETE", "/podbay.dev/v1/faults")
            alive = {f"c{number}" for number in range(20) if number % 3}
            await eventually(lambda: {name_of(o) for o in store.objects()} - {"kube-root-ca.crt"} == alive)
            for number in range(20):
                mine = [kind for kind, name in seen if name == f"c{number}"]
                # A short life may pass while the stream is down; what is told is told in order.
                assert mine in (["ADDED"], ["ADDED", "DELETED"], []), mine
                assert mine == ["ADDED"] or number % 3 == 0
            assert client.counter.total["watch"] > 3


@pytest.mark.parametrize("status", [410, 429, 500, 503, 504])
async def test_refusals_are_outlived(
    podbay_cluster: Environment,
    podbay_namespace: str,
    api: Requests,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    ns = podbay_namespace
    # The server ends the watch after one to two seconds; the next ones meet the faults.
    monkeypatch.setattr(client_module, "WATCH_SECONDS", 1)
    async with client_of(podbay_cluster.kubeconfig) as client, watching(client, maps_of(ns)) as store:
        made = await client.create(CONFIGMAPS, configmap("a"), namespace=ns)
        changes = store.subscribe(ns, "a", known=made)
        declare(api, do="refuse", status=status, count=2, match={"verb": "watch", "namespace": ns})
        await eventually(lambda: client.counter.total["watch"] >= 3)
        await client.delete(CONFIGMAPS, "a", namespace=ns)
        kinds = [(await asyncio.wait_for(changes.next(), PATIENCE)).type for _ in range(2)]
        assert kinds == ["ADDED", "DELETED"]


async def test_missing_rights_are_told(podbay_cluster: Environment, api: Requests) -> None:
    declare(api, do="refuse", status=403, message="pods is forbidden", match={"resource": "pods"})
    async with client_of(podbay_cluster.kubeconfig) as client:
        with pytest.raises(ApiError, match="pods is forbidden"):
            async with watching(client, pods_of("default")):
                pass


class SilentServer:
    """Answers a watch with a state, then says nothing and keeps the connection."""

    def __init__(self) -> None:
        self.watches = 0

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        self.watches += 1
        if request.query.get("sendInitialEvents"):
            return web.json_response({"kind": "Status", "message": "unknown"}, status=422)
        if not request.query.get("watch"):
            return web.json_response(
                {"kind": "ConfigMapList", "metadata": {"resourceVersion": "5"}, "items": []}
            )
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(60)
        return response


@asynccontextmanager
async def serving(server: SilentServer) -> AsyncIterator[ClusterConfig]:
    runner = web.ServerRunner(web.Server(server.serve, handler_cancellation=True), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield ClusterConfig(server=f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}")  # type: ignore[union-attr]
    finally:
        await runner.cleanup()


async def test_a_silent_server_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "SILENCE_SECONDS", 0.2)
    server = SilentServer()
    async with serving(server) as config, client_of(config) as client:
        async with watching(client, maps_of("n")) as store:
            troubles: list[object] = []
            store.on_trouble(troubles.append)
            # The refused stream of the state, the list, and watches that fell silent.
            await eventually(lambda: server.watches >= 5)
        assert isinstance(troubles[0], UnreachableError)
        assert troubles[0].kind == "silent"


@pytest.mark.slow
async def test_hundreds_of_pods_on_one_watch(podbay_cluster: Environment, podbay_namespace: str) -> None:
    ns, count = podbay_namespace, 300
    async with client_of(podbay_cluster.kubeconfig) as client, watching(client, pods_of(ns)) as store:

        async def live(name: str) -> str:
            made = await client.create(PODS, a_pod(name), namespace=ns)
            async with store.subscribe(ns, name, known=made) as changes:
                while True:
                    change = await changes.next()
                    phase = ((change.object or {}).get("status") or {}).get("phase")
                    if phase in ("Succeeded", "Failed"):
                        return str(phase)

        tasks = len(asyncio.all_tasks())
        phases = await asyncio.wait_for(asyncio.gather(*(live(f"p{n}") for n in range(count))), PATIENCE)
        assert set(phases) == {"Succeeded"}
        assert client.counter.total == {"create": count, "watch": 1}
        assert client.counter.of(ns, "p0") == {"create": 1}
        assert len(asyncio.all_tasks()) <= tasks


async def test_a_restarted_api_server_is_met_again(tmp_path: Path) -> None:
    options = ClusterOptions(home=ClusterHome(tmp_path / "home", "kube-test"), nodes=())
    changes: Subscription | None = None
    async with AsyncExitStack() as stack:
        async with EmbeddedCluster(options) as cluster:
            config = parse_kubeconfig(cluster.kubeconfig())
            client = await stack.enter_async_context(client_of(config))
            store = await stack.enter_async_context(watching(client, maps_of("default")))
            made = await client.create(CONFIGMAPS, configmap("a"), namespace="default")
            changes = store.subscribe("default", "a", known=made)
        await eventually(lambda: isinstance(store.trouble_now, UnreachableError))
        async with EmbeddedCluster(options) as cluster:
            assert cluster.url == config.server
            await cluster.api().delete(CONFIGMAPS, "a", namespace="default")
            kinds = [(await asyncio.wait_for(changes.next(), PATIENCE)).type for _ in range(2)]
            assert kinds == ["ADDED", "DELETED"]
            assert store.trouble_now is None
            # Requests that meet a closed connection are sent again.
            await client.create(CONFIGMAPS, configmap("b", identity="1"), namespace="default")
            await stack.aclose()


# -- leases


async def test_one_client_and_one_watch_for_all_who_lease(
    podbay_cluster: Environment, podbay_namespace: str
) -> None:
    config = load_kubeconfig(podbay_cluster.kubeconfig)
    counter = LeaseDesk(DeskOptions(linger_seconds=0.0))
    clients, stores = set(), set()

    async def use() -> None:
        async with counter.lease(config) as cluster, cluster.watch(pods_of(podbay_namespace)) as store:
            await store.wait_synced()
            clients.add(id(cluster.client))
            stores.add(id(store))
            await asyncio.sleep(0.05)

    await asyncio.gather(*(use() for _ in range(50)))
    assert (len(clients), len(stores)) == (1, 1)
    assert counter._clusters == {}
    await use()
    await counter.aclose()


async def test_a_lease_lingers_for_the_next(podbay_cluster: Environment, podbay_namespace: str) -> None:
    config = load_kubeconfig(podbay_cluster.kubeconfig)
    counter = LeaseDesk(DeskOptions(linger_seconds=0.2))
    found = []
    for _ in range(3):
        async with counter.lease(config) as cluster, cluster.watch(pods_of(podbay_namespace)) as store:
            found.append(store)
    assert len(set(map(id, found))) == 1
    await eventually(lambda: not counter._clusters)


async def test_a_user_who_is_cancelled_leaves_the_others_alone(podbay_cluster: Environment) -> None:
    config = load_kubeconfig(podbay_cluster.kubeconfig)
    counter = LeaseDesk(DeskOptions(linger_seconds=0.0))
    inside = asyncio.Event()

    async def use() -> None:
        async with counter.lease(config) as cluster, cluster.watch(pods_of("default")) as store:
            await store.wait_synced()
            inside.set()
            await asyncio.sleep(60)

    one = asyncio.ensure_future(use())
    await inside.wait()
    async with counter.lease(config) as cluster, cluster.watch(pods_of("default")) as store:
        one.cancel()
        await asyncio.gather(one, return_exceptions=True)
        assert (await cluster.client.list(PODS, namespace="default")).items is not None
        assert store.synced


async def test_context_variables_of_the_first_user_stay_with_him(podbay_cluster: Environment) -> None:
    import contextvars

    who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
    who.set("first task")
    seen: list[str] = []
    counter = LeaseDesk(DeskOptions(linger_seconds=0.0))
    config = load_kubeconfig(podbay_cluster.kubeconfig)
    async with counter.lease(config) as cluster, cluster.watch(pods_of("default")) as store:
        store.listen(lambda _: seen.append(who.get()))
        store.on_trouble(lambda _: None)
        made = await cluster.client.create(PODS, a_pod("ctx", seconds=0.0), namespace="default")
        await eventually(lambda: store.get("default", "ctx") is not None)
        await cluster.client.delete(PODS, "ctx", namespace="default", options={"gracePeriodSeconds": 0})
        await eventually(lambda: store.get("default", "ctx") is None)
        assert uid_of(made)
    assert set(seen) == {"nobody"}


async def test_each_loop_has_a_desk(podbay_cluster: Environment) -> None:
    config = load_kubeconfig(podbay_cluster.kubeconfig)
    here = desk(lambda: LeaseDesk(DeskOptions(linger_seconds=0.0, patience=Patience(5, 5))))

    def elsewhere() -> LeaseDesk:
        async def other() -> LeaseDesk:
            return desk()

        return asyncio.run(other())

    assert await asyncio.to_thread(elsewhere) is not here
    assert desk() is here
    async with lease(config) as cluster:
        assert cluster.client.config == config
