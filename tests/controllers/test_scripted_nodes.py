"""Scripted nodes in a whole control plane: reports, logs, deletion, restarts of the host."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from control_plane import NODES, PODS, Plane, control_plane

from podbay.aio.tasks import TaskGroup
from podbay.apiserver.streams import LogOptions
from podbay.embedded.scripted import Script, ScriptedNode, ScriptedNodes
from podbay.errors import ApiError
from podbay.objects.resource import GVR

LEASES = GVR("coordination.k8s.io", "v1", "leases")
TALKS = Script.from_data(
    [
        {
            "containers": {
                "*": [
                    {
                        "run": 10,
                        "exit_code": 1,
                        "log": ["one", {"after": 4, "text": "two", "stream": "stderr"}],
                    },
                    {"run": "forever", "log": ["again"]},
                ]
            }
        }
    ]
)


async def read(plane: Plane, name: str, **options: Any) -> str:
    pod = await plane.api.get(PODS, name, namespace="default")
    stream = await plane.host.streams["n1"].logs(pod, LogOptions(container="main", **options))
    return b"".join([chunk async for chunk in stream]).decode()


async def test_nodes_register_with_what_was_declared() -> None:
    node = ScriptedNode(name="n1", labels={"zone": "a"}, capacity={"cpu": "3", "x.dev/gpu": "2"})
    async with control_plane([node]) as plane:
        found = await plane.api.get(NODES, "n1")
        assert found["metadata"]["labels"]["zone"] == "a"
        assert found["metadata"]["labels"]["kubernetes.io/hostname"] == "n1"
        assert found["status"]["capacity"]["cpu"] == "3"
        assert found["status"]["allocatable"]["x.dev/gpu"] == "2"
        lease = await plane.api.get(LEASES, "n1", namespace="kube-node-lease")
        await plane.clock.advance(11)
        renewed = await plane.api.get(LEASES, "n1", namespace="kube-node-lease")
        assert renewed["spec"]["renewTime"] > lease["spec"]["renewTime"]


async def test_a_pod_is_reported_twice_start_and_end() -> None:
    async with control_plane() as plane:
        await plane.run_pod("p", annotations={"scripted.podbay.dev/run-seconds": "5"})
        running = await plane.phase("p", "Running")
        before = int(running["metadata"]["resourceVersion"])
        assert running["status"]["qosClass"] == "BestEffort"
        done = await plane.phase("p", "Succeeded")
        watch = plane.api.watch(PODS, namespace="default", resource_version=str(before))
        event = await anext(watch)  # type: ignore[arg-type]
        assert event.object["metadata"]["resourceVersion"] == done["metadata"]["resourceVersion"]
        await watch.aclose()  # type: ignore[attr-defined]


async def test_logs() -> None:
    async with control_plane(script=TALKS) as plane:
        await plane.run_pod("p", restartPolicy="OnFailure")
        await plane.phase("p", "Running")
        await plane.clock.advance(1)
        assert await read(plane, "p") == "one\n"
        await plane.clock.advance(4)
        assert await read(plane, "p") == "one\ntwo\n"
        assert await read(plane, "p", tail_lines=1) == "two\n"
        assert await read(plane, "p", limit_bytes=5) == "one\nt"
        assert await read(plane, "p", stream="Stderr") == "two\n"
        stamped = (await read(plane, "p", timestamps=True)).splitlines()
        assert stamped[0].endswith("000Z one")
        with pytest.raises(ApiError, match='previous terminated container "main" in pod "p" not found'):
            await read(plane, "p", previous=True)
        await plane.clock.advance(10)
        assert await read(plane, "p") == "again\n"
        assert await read(plane, "p", previous=True) == "one\ntwo\n"


async def test_following_a_log_ends_with_the_container() -> None:
    async with control_plane(script=TALKS) as plane:
        await plane.run_pod("p")
        await plane.phase("p", "Running")
        following = asyncio.ensure_future(read(plane, "p", follow=True))
        await plane.clock.advance(8)
        assert not following.done()
        await plane.clock.advance(5)
        assert await following == "one\ntwo\n"


async def test_a_log_of_a_waiting_container_is_refused() -> None:
    async with control_plane() as plane:
        await plane.run_pod("p", annotations={"scripted.podbay.dev/waiting-reason": "ImagePullBackOff"})
        await plane.clock.advance(1)
        words = 'container "main" in pod "p" is waiting to start: trying and failing to pull image'
        with pytest.raises(ApiError) as refused:
            await read(plane, "p")
        assert (refused.value.code, refused.value.message) == (400, words)


async def test_a_bad_annotation_is_a_configuration_error() -> None:
    async with control_plane() as plane:
        await plane.run_pod("p", annotations={"scripted.podbay.dev/exit-code": "x"})
        await plane.clock.advance(1)
        pod = await plane.api.get(PODS, "p", namespace="default")
        waiting = pod["status"]["containerStatuses"][0]["state"]["waiting"]
        assert waiting["reason"] == "CreateContainerConfigError"
        assert "exit-code: 'x' is not a whole number" in waiting["message"]


@pytest.mark.parametrize(("ignores", "seconds"), [("false", 0.6), ("true", 8)])
async def test_deletion_takes_the_grace_period_of_a_deaf_pod(ignores: str, seconds: float) -> None:
    async with control_plane() as plane:
        annotations = {"scripted.podbay.dev/ignore-sigterm": ignores}
        await plane.run_pod("p", annotations=annotations, terminationGracePeriodSeconds=8)
        await plane.phase("p", "Running")
        await plane.api.delete(PODS, "p", namespace="default")
        if ignores == "true":
            await plane.clock.advance(7)
            assert await plane.find(PODS, "p")
        await plane.gone(PODS, "p", seconds=2)


async def test_forced_deletion_leaves_nothing_behind() -> None:
    async with control_plane() as plane:
        await plane.run_pod("p")
        await plane.phase("p", "Running")
        await plane.api.delete(PODS, "p", namespace="default", options={"gracePeriodSeconds": 0})
        await plane.gone(PODS, "p")
        await plane.clock.settle()
        assert plane.host.running_pods == 0


async def test_a_new_host_finds_its_pods_where_they_would_be() -> None:
    async with control_plane([], Script()) as plane:
        nodes, script = [ScriptedNode(name="n1")], TALKS
        first = ScriptedNodes(nodes, script)
        async with TaskGroup("first") as group:
            group.start("nodes", first.run(plane.api, plane.clock))
            await plane.clock.settle()
            await plane.run_pod("p")
            await plane.phase("p", "Running")
        await plane.clock.advance(5)
        second = ScriptedNodes(nodes, script)
        async with TaskGroup("second") as group:
            group.start("nodes", second.run(plane.api, plane.clock))
            await plane.clock.advance(4)
            pod = await plane.api.get(PODS, "p", namespace="default")
            assert pod["status"]["phase"] == "Running"
            await plane.clock.advance(2)
            pod = await plane.api.get(PODS, "p", namespace="default")
            assert pod["status"]["phase"] == "Failed"
