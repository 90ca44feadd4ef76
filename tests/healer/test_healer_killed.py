"""Two healers that are killed -9 again and again: every orphan goes, nothing else does, and the history says why of each."""

from __future__ import annotations

import asyncio
import random
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from patience import eventually
from scripted_airflow import ScriptedAirflow, scripted_airflow

from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.nodes import one_scripted_node
from podbay.healer.events import history
from podbay.kube.client import PODS, KubeClient
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.kube.lease import DeskOptions, LeaseDesk, pods_of
from podbay.kube.store import SharedStore
from podbay.objects.meta import name_of, uid_of
from podbay.pods.build import build_pod
from podbay.pods.identity import TaskIdentity
from podbay.pods.request import PodRequest
from podbay.testing import Environment
from podbay.testing.requests import Requests

COUNT = 16
KILLS = 3
LONG_AGO = "2020-01-01T00:00:00Z"
PROGRAM = Path(__file__).with_name("healer_process.py")


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    with Environment.start(ClusterOptions(nodes=one_scripted_node())) as found:
        yield found


async def _pods(client: KubeClient, namespace: str, airflow: ScriptedAirflow) -> dict[str, str]:
    """So many tasks that run, each with its pod: uid by task id."""
    made = {}
    for number in range(COUNT):
        task_id = f"t{number}"
        own = TaskIdentity(deployment="prod", dag_id="d", run_id="r", task_id=task_id)
        marks = {"scripted.podbay.dev/run-seconds": "36000"}
        request = PodRequest(identity=own, namespace=namespace, image="busybox", annotations=marks)
        airflow.put("d", "r", task_id, "running")
        made[task_id] = uid_of(await client.create(PODS, build_pod(request), namespace=namespace))
    return made


@asynccontextmanager
async def _healer(*words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(sys.executable, str(PROGRAM), *words)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _killed_again_and_again(words: tuple[str, ...], rng: random.Random, deleted: list[int]) -> None:
    """A life ends some time after it, or the other healer, has ended another pod; the last one stays."""
    for _ in range(KILLS):
        async with _healer(*words):
            before = len(deleted)
            await eventually(lambda before=before: len(deleted) > before)  # type: ignore[misc]
            await asyncio.sleep(rng.uniform(0, 0.5))
    async with _healer(*words):
        await asyncio.Event().wait()


def _ending(store: SharedStore, pods: dict[str, str]) -> set[str]:
    there = {uid_of(pod) for pod in store.objects() if "deletionTimestamp" not in pod["metadata"]}
    return {task_id for task_id, uid in pods.items() if uid not in there}


async def test_killed_healers_end_every_orphan_and_nothing_else(environment: Environment) -> None:
    namespace = f"k-{uuid.uuid4().hex[:8]}"
    rng = random.Random(11)
    with Requests(environment.kubeconfig) as api:
        api.create_namespace(namespace)
    desk = LeaseDesk(DeskOptions(linger_seconds=0))
    async with (
        scripted_airflow() as airflow,
        desk.lease(load_kubeconfig(environment.kubeconfig)) as cluster,
        cluster.watch(pods_of(namespace)) as store,
    ):
        pods = await _pods(cluster.client, namespace, airflow)
        await eventually(lambda: len(store.objects()) == COUNT)
        names = {uid_of(pod): name_of(pod) for pod in store.objects()}
        orphans = set(rng.sample(sorted(pods), COUNT // 2))
        deleted: list[int] = []
        words = (str(environment.kubeconfig), namespace, airflow.url)
        healers = [
            asyncio.ensure_future(_killed_again_and_again(words, random.Random(seed), deleted))
            for seed in (1, 2)
        ]
        try:
            for count, task_id in enumerate(sorted(orphans), start=1):
                airflow.put("d", "r", task_id, "failed", end_date=LONG_AGO)
                await eventually(
                    lambda wanted=count: len(_ending(store, pods)) >= wanted,  # type: ignore[misc]
                    tell=lambda: _ending(store, pods),
                )
                deleted.append(count)
        finally:
            for healer in healers:
                healer.cancel()
            await asyncio.gather(*healers, return_exceptions=True)
        assert _ending(store, pods) == orphans
        told = {
            event["involvedObject"]["uid"]: event
            for event in await history(cluster.client, namespace, "prod")
        }
    await desk.aclose()
    assert told.keys() == {pods[task_id] for task_id in orphans}
    for uid, event in told.items():
        assert (event["action"], event["reason"]) == ("Delete", "OwnerFinished")
        assert event["involvedObject"]["name"] == names[uid]
        assert "failed" in event["message"]
