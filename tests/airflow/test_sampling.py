"""What pods use while they run: one list for all of them, and nothing where nobody asked for it."""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack

from patience import eventually

from podbay.airflow.sampling import Samples, sampled
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.kube.lease import lease
from podbay.objects.meta import Object, name_of
from podbay.pods.build import build_pod
from podbay.pods.identity import TaskIdentity
from podbay.pods.request import PodRequest
from podbay.testing import Environment
from podbay.testing.requests import Requests

USES = {"run-seconds": "600", "cpu": "250m", "memory": "64Mi"}


def running_pod(kube: Requests, namespace: str) -> str:
    identity = TaskIdentity(deployment="tests", dag_id="d", run_id="r", task_id=uuid.uuid4().hex[:8])
    marks = {f"scripted.podbay.dev/{key}": value for key, value in USES.items()}
    pod = build_pod(PodRequest(identity=identity, namespace=namespace, image="busybox", annotations=marks))
    status, made = kube.call("POST", f"/api/v1/namespaces/{namespace}/pods", pod)
    assert status == 201, made
    return name_of(made)


async def test_the_pods_of_a_process_are_asked_for_together(scripted: Environment, kube: Requests) -> None:
    namespace = f"s-{uuid.uuid4().hex[:8]}"
    kube.create_namespace(namespace)
    names = [running_pod(kube, namespace) for _ in range(3)]
    async with lease(load_kubeconfig(scripted.kubeconfig)) as cluster, AsyncExitStack() as stack:
        before = cluster.client.counter.total["list"]
        every: list[Samples] = []
        for name in [*names, "another"]:
            # A run adds the name once it has made its pod.
            wanted: set[str] = set()
            opened = sampled(cluster.client, namespace, "tests", wanted, seconds=1)
            every.append(await stack.enter_async_context(opened))
            wanted.add(name)
        await eventually(lambda: all(each.count >= 2 for each in every[:3]), tell=lambda: every)
        asked = cluster.client.counter.total["list"] - before
        assert asked <= max(each.count for each in every) + 2, "once for all, not once for each"
    said = every[0].to_json()
    assert said is not None
    assert (said["cpu"], said["memory"], said["peakMemory"]) == (0.25, 64 << 20, 64 << 20)
    assert every[3].to_json() is None


async def test_nothing_is_asked_unless_somebody_wants_it(scripted: Environment) -> None:
    async with (
        lease(load_kubeconfig(scripted.kubeconfig)) as cluster,
        sampled(cluster.client, "default", "tests", {"pod"}, seconds=0) as samples,
    ):
        assert samples.to_json() is None
        assert not cluster.client.counter.total


def metrics(stamp: str, *memory: str) -> Object:
    used = [
        {"name": str(index), "usage": {"cpu": "100m", "memory": each}} for index, each in enumerate(memory)
    ]
    return {"metadata": {"name": "pod"}, "timestamp": stamp, "containers": used}


def test_containers_are_summed_and_the_same_measurement_counts_once() -> None:
    samples = Samples({"pod"})
    for stamp, memory in (("1", ["1Ki", "2Ki"]), ("1", ["9Ki"]), ("2", ["1Ki"]), ("3", ["no quantity"])):
        samples.add(metrics(stamp, *memory))
    assert samples.to_json() == {"samples": 2, "cpu": 0.15, "memory": 2048, "peakMemory": 3072}


def test_of_the_main_container_the_most_is_kept_by_itself() -> None:
    samples = Samples({"pod"}, container="1")
    for stamp, memory in (("1", ["9Ki", "2Ki"]), ("2", ["1Ki", "1Ki"])):
        samples.add(metrics(stamp, *memory))
    said = samples.to_json()
    assert said is not None
    assert said["main"] == {"peakCpu": 0.1, "peakMemory": 2048}
