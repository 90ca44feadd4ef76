"""kubernetes_asyncio: typed calls and watches on an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import kubernetes_asyncio
import pytest
from kubernetes_asyncio.client import ApiException
from kubernetes_asyncio.dynamic import DynamicClient
from sample_objects import config_map, finishing_pod

from podbay.testing import Environment


@pytest.fixture
async def api_client(cluster: Environment) -> AsyncIterator[Any]:
    client = await kubernetes_asyncio.config.new_client_from_config(str(cluster.kubeconfig))
    async with client:
        yield client


@pytest.fixture
def core(api_client: Any) -> Any:
    return kubernetes_asyncio.client.CoreV1Api(api_client)


async def test_objects(core: Any, namespace: str) -> None:
    made = await core.create_namespaced_config_map(namespace, config_map("app", {"a": "1"}))
    made.data["a"] = "2"
    await core.replace_namespaced_config_map("app", namespace, made)
    assert (await core.read_namespaced_config_map("app", namespace)).data == {"a": "2"}
    with pytest.raises(ApiException) as caught:
        await core.replace_namespaced_config_map("app", namespace, made)
    assert caught.value.status == 409
    await core.delete_namespaced_config_map("app", namespace)


async def test_many_at_once(core: Any, namespace: str) -> None:
    await asyncio.gather(
        *(
            core.create_namespaced_config_map(namespace, config_map(f"n-{n}", {}, many="yes"))
            for n in range(60)
        )
    )
    listed = await core.list_namespaced_config_map(namespace, label_selector="many=yes")
    assert {i.metadata.name for i in listed.items} == {f"n-{n}" for n in range(60)}
    versions = {i.metadata.resource_version for i in listed.items}
    assert len(versions) == 60


async def test_writers_of_one_object_lose_nothing(core: Any, namespace: str) -> None:
    """Read, change, replace, again on conflict: forty writers, forty marks."""
    await core.create_namespaced_config_map(namespace, config_map("shared"))

    async def mark(n: int) -> None:
        while True:
            current = await core.read_namespaced_config_map("shared", namespace)
            current.data = {**(current.data or {}), f"k{n}": "x"}
            try:
                await core.replace_namespaced_config_map("shared", namespace, current)
            except ApiException as err:
                assert err.status == 409
                continue
            return

    await asyncio.gather(*(mark(n) for n in range(40)))
    final = await core.read_namespaced_config_map("shared", namespace)
    assert len(final.data) == 40


async def test_watch_follows_a_pod(core: Any, namespace: str) -> None:
    listed = await core.list_namespaced_pod(namespace)
    await core.create_namespaced_pod(namespace, finishing_pod("task"))
    seen: list[str] = []
    async with kubernetes_asyncio.watch.Watch() as watch:
        async for event in watch.stream(
            core.list_namespaced_pod,
            namespace,
            resource_version=listed.metadata.resource_version,
            timeout_seconds=100,
        ):
            seen.append(event["object"].status.phase)
            if seen[-1] == "Succeeded":
                break
    assert seen[0] == "Pending"
    assert seen[-1] == "Succeeded"


async def test_watch_is_cancelled_cleanly(core: Any, namespace: str) -> None:
    async def forever() -> None:
        async with kubernetes_asyncio.watch.Watch() as watch:
            async for _ in watch.stream(core.list_namespaced_pod, namespace):
                pass

    task = asyncio.create_task(forever())
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_dynamic_client(api_client: Any, namespace: str) -> None:
    dynamic = await DynamicClient(api_client)
    config_maps = await dynamic.resources.get(api_version="v1", kind="ConfigMap")
    await config_maps.create(body=config_map("app", {"a": "1"}), namespace=namespace)
    got = await config_maps.get(name="app", namespace=namespace)
    assert got.data.a == "1"
