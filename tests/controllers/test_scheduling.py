"""The scheduler at work in a whole control plane."""

from __future__ import annotations

from control_plane import NODES, PODS, PRIORITY_CLASSES, Plane, control_plane

from podbay.embedded.scripted import ScriptedNode
from podbay.objects.meta import Object

SMALL = ScriptedNode(name="n1", capacity={"cpu": "2", "memory": "4Gi"})
FULL = (
    "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, "
    "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
)


def scheduled(pod: Object) -> tuple[str, ...]:
    found = next(c for c in pod["status"]["conditions"] if c["type"] == "PodScheduled")
    return tuple(v for v in (found["status"], found.get("reason"), found.get("message")) if v)


async def get_pod(plane: Plane, name: str) -> Object:
    return await plane.api.get(PODS, name, namespace="default")


async def test_a_pod_is_bound_and_the_event_says_so() -> None:
    async with control_plane() as plane:
        await plane.run_pod("p")
        await plane.phase("p", "Running")
        pod = await get_pod(plane, "p")
        assert pod["spec"]["nodeName"] == "n1"
        assert scheduled(pod) == ("True",)
        event = (await plane.events("Scheduled"))[0]
        assert event["message"] == "Successfully assigned default/p to n1"
        assert (event["type"], event["reportingComponent"], event["action"]) == (
            "Normal",
            "default-scheduler",
            "Binding",
        )


async def test_an_unschedulable_pod_says_why_and_starts_when_room_appears() -> None:
    async with control_plane([SMALL]) as plane:
        short = {"scripted.podbay.dev/run-seconds": "30"}
        await plane.run_pod("first", requests={"cpu": "2"}, annotations=short)
        await plane.phase("first", "Running")
        await plane.run_pod("second", requests={"cpu": "1"})
        await plane.clock.advance(5)
        assert scheduled(await get_pod(plane, "second")) == ("False", "Unschedulable", FULL)
        events = await plane.events("FailedScheduling")
        assert [(e["type"], e["message"]) for e in events] == [("Warning", FULL)]
        await plane.phase("first", "Succeeded")
        await plane.clock.settle()
        assert (await get_pod(plane, "second"))["spec"]["nodeName"] == "n1"


async def test_a_new_node_and_a_removed_taint_are_room_too() -> None:
    taint = {"key": "k", "value": "v", "effect": "NoSchedule"}
    async with control_plane([ScriptedNode(name="n1", taints=[taint])]) as plane:
        await plane.run_pod("p")
        await plane.clock.advance(1)
        assert "1 node(s) had untolerated taint(s)" in scheduled(await get_pod(plane, "p"))[2]
        await plane.api.patch(NODES, "n1", {"spec": {"taints": None}})
        await plane.phase("p", "Running")


async def test_gates_are_respected() -> None:
    async with control_plane() as plane:
        await plane.run_pod("p", schedulingGates=[{"name": "x.dev/g"}])
        await plane.clock.advance(5)
        pod = await get_pod(plane, "p")
        assert "nodeName" not in pod["spec"]
        assert scheduled(pod)[1] == "SchedulingGated"
        await plane.api.patch(PODS, "p", {"spec": {"schedulingGates": []}}, namespace="default")
        await plane.phase("p", "Running")


async def test_other_schedulers_pods_are_left_alone() -> None:
    async with control_plane() as plane:
        await plane.run_pod("p", schedulerName="mine")
        await plane.clock.advance(5)
        assert "nodeName" not in (await get_pod(plane, "p"))["spec"]


async def test_an_important_pod_preempts_the_least_important() -> None:
    async with control_plane([SMALL]) as plane:
        body = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass"}
        await plane.api.create(PRIORITY_CLASSES, {**body, "metadata": {"name": "high"}, "value": 1000})
        slow = {"scripted.podbay.dev/stop-seconds": "4"}
        await plane.run_pod("victim", requests={"cpu": "1500m"}, annotations=slow)
        await plane.run_pod("bystander", requests={"cpu": "500m"})
        await plane.phase("victim", "Running")
        await plane.run_pod("urgent", requests={"cpu": "1"}, priorityClassName="high")
        await plane.clock.advance(1)
        victim, urgent = await get_pod(plane, "victim"), await get_pod(plane, "urgent")
        assert victim["metadata"]["deletionTimestamp"]
        target = next(c for c in victim["status"]["conditions"] if c["type"] == "DisruptionTarget")
        assert (target["reason"], target["message"]) == (
            "PreemptionByScheduler",
            "default-scheduler: preempting to accommodate a higher priority pod",
        )
        assert urgent["status"]["nominatedNodeName"] == "n1"
        uid = urgent["metadata"]["uid"]
        assert [e["message"] for e in await plane.events("Preempted")] == [
            f"Preempted by pod {uid} on node n1"
        ]
        # The room is kept for it although a lesser pod would fit.
        await plane.run_pod("lesser", requests={"cpu": "1"})
        await plane.phase("urgent", "Running")
        assert "nodeName" not in (await get_pod(plane, "lesser"))["spec"]
        assert "deletionTimestamp" not in (await get_pod(plane, "bystander"))["metadata"]


async def test_many_waiting_pods_follow_one_another() -> None:
    node = ScriptedNode(name="n1", capacity={"pods": "10", "cpu": "100", "memory": "100Gi"})
    async with control_plane([node]) as plane:
        for i in range(60):
            await plane.run_pod(f"p{i}", annotations={"scripted.podbay.dev/run-seconds": "2"})
        most = 0
        for _ in range(30):
            await plane.clock.advance(0.5)
            pods = (await plane.api.list(PODS, namespace="default")).items
            active = [p for p in pods if p["spec"].get("nodeName") and p["status"]["phase"] != "Succeeded"]
            most = max(most, len(active))
            if all(p["status"]["phase"] == "Succeeded" for p in pods):
                break
        assert most == 10
        assert {p["status"]["phase"] for p in pods} == {"Succeeded"}
