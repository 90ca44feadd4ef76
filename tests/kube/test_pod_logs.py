"""Watch and logs together on a cluster: whole pods, many of them, under faults."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from parts import a_pod, client_of, declare
from patience import PATIENCE

from podbay.aio.clock import SystemClock
from podbay.aio.tasks import TaskGroup
from podbay.kube.client import PODS, KubeClient
from podbay.kube.lease import pods_of
from podbay.kube.log_reader import LogSource
from podbay.kube.log_slots import LogSlots
from podbay.kube.logs import PodLogFollower
from podbay.kube.store import SharedStore
from podbay.kube.watch import keep_watching
from podbay.objects.meta import Object
from podbay.testing import Environment
from podbay.testing.requests import Requests


@asynccontextmanager
async def watched(client: KubeClient, namespace: str) -> AsyncIterator[SharedStore]:
    store = SharedStore()
    async with TaskGroup("test") as group:
        group.start(
            "watch", keep_watching(client, pods_of(namespace), store, SystemClock(), random.Random(1))
        )
        await asyncio.wait_for(store.wait_synced(), PATIENCE)
        yield store


async def log_of(client: KubeClient, store: SharedStore, slots: LogSlots, made: Object) -> list[str]:
    """Run a pod to its end and give all its lines."""
    metadata = made["metadata"]
    source = LogSource(client, slots, SystemClock(), metadata["namespace"], metadata["name"])
    lines: list[str] = []

    async with PodLogFollower(source, uid=metadata["uid"]) as follower:

        async def feed() -> None:
            async with store.subscribe(metadata["namespace"], metadata["name"], known=made) as changes:
                async for change in changes:
                    if change.type == "DELETED" or change.object is None:
                        follower.pod_gone()
                    else:
                        follower.observe(change.object)

        async with TaskGroup("feed") as group:
            group.start("feed", feed())
            async for batch in follower.batches():
                lines += [line.text for line in batch.lines]
    return lines


async def test_a_pod_from_start_to_end(podbay_cluster: Environment, podbay_namespace: str) -> None:
    async with client_of(podbay_cluster.kubeconfig) as client, watched(client, podbay_namespace) as store:
        made = await client.create(
            PODS, a_pod("p", log="one\ntwo\nthree", seconds=0.2), namespace=podbay_namespace
        )
        lines = await asyncio.wait_for(log_of(client, store, LogSlots(SystemClock()), made), PATIENCE)
        assert lines == ["one", "two", "three"]
        assert client.counter.of(podbay_namespace, "p") == {"create": 1, "log": 2}


@pytest.mark.parametrize("cut", [0, 1, 40, 100, 1000, 3000])
async def test_logs_of_pods_survive_faults(
    podbay_cluster: Environment, podbay_namespace: str, api: Requests, cut: int
) -> None:
    ns = podbay_namespace
    text = [f"line {number} of the log" for number in range(100)]
    async with client_of(podbay_cluster.kubeconfig) as client, watched(client, ns) as store:
        declare(api, do="cut", bytes=cut, count=4, match={"subresource": "log", "namespace": ns})
        declare(api, do="refuse", status=500, count=3, match={"subresource": "log", "namespace": ns})
        declare(api, do="refuse", status=429, count=2, match={"subresource": "log", "namespace": ns})
        declare(api, do="cut", bytes=2000, count=10, match={"verb": "watch", "namespace": ns})
        slots = LogSlots(SystemClock())
        made = [
            await client.create(PODS, a_pod(f"p{n}", log="\n".join(text), seconds=0.3), namespace=ns)
            for n in range(5)
        ]
        found = await asyncio.wait_for(
            asyncio.gather(*(log_of(client, store, slots, one) for one in made)), PATIENCE
        )
        for lines in found:
            assert lines == text


@pytest.mark.slow
async def test_many_followers_share_few_streams(podbay_cluster: Environment, podbay_namespace: str) -> None:
    ns, count = podbay_namespace, 100
    async with client_of(podbay_cluster.kubeconfig) as client, watched(client, ns) as store:
        slots = LogSlots(SystemClock(), streams=10)

        async def live(number: int) -> None:
            text = [f"{number}: {line}" for line in range(10)]
            made = await client.create(
                PODS, a_pod(f"p{number}", log="\n".join(text), seconds=1.0), namespace=ns
            )
            assert await log_of(client, store, slots, made) == text

        await asyncio.wait_for(asyncio.gather(*(live(number) for number in range(count))), PATIENCE)
        assert slots.in_use == 0
        requests = [client.counter.of(ns, f"p{number}")["log"] for number in range(count)]
        assert max(requests) <= 8, json.dumps(requests)
