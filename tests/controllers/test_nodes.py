from __future__ import annotations

from typing import Any

import pytest
from control_plane import EVENTS, NODES, PODS, Plane, control_plane

from podbay.embedded.controllers.node_health import eviction_delay, wanted_taints
from podbay.embedded.controllers.pod_gc import surplus
from podbay.embedded.scripted import Failure, ScriptedNode
from podbay.objects.meta import Object

NO_EXECUTE = {"key": "k", "value": "v", "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("tolerations", "delay"),
    [
        ([], 0.0),
        ([{"operator": "Exists"}], None),
        ([{"key": "k", "value": "v", "tolerationSeconds": 30}], 30.0),
        ([{"key": "k", "operator": "Exists", "tolerationSeconds": 30}, {"operator": "Exists"}], 30.0),
        ([{"key": "k", "value": "other"}], 0.0),
        ([{"key": "k", "operator": "Exists", "tolerationSeconds": -5}], 0.0),
    ],
)
def test_how_long_a_pod_may_stay(tolerations: list[Object], delay: float | None) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"tolerations": tolerations}}
    assert eviction_delay(pod, [NO_EXECUTE]) == delay
    assert eviction_delay(pod, [{**NO_EXECUTE, "effect": "NoSchedule"}]) is None


def taints(node: Object) -> set[tuple[str, str]]:
    return {
        (t["key"].removeprefix("node.kubernetes.io/"), t["effect"]) for t in node["spec"].get("taints") or ()
    }


def test_taints_follow_conditions_and_leave_others_alone(plain_clock: Any) -> None:
    own = {"key": "mine", "effect": "NoExecute"}
    node = {
        "metadata": {"name": "n"},
        "spec": {"taints": [own], "unschedulable": True},
        "status": {
            "conditions": [{"type": "Ready", "status": "Unknown"}, {"type": "DiskPressure", "status": "True"}]
        },
    }
    wanted = wanted_taints(node, plain_clock.now())
    assert wanted is not None
    node["spec"]["taints"] = wanted  # type: ignore[index]
    assert taints(node) == {
        ("mine", "NoExecute"),
        ("unschedulable", "NoSchedule"),
        ("disk-pressure", "NoSchedule"),
        ("unreachable", "NoSchedule"),
        ("unreachable", "NoExecute"),
    }
    assert wanted_taints(node, plain_clock.now()) is None
    node["spec"]["unschedulable"] = False  # type: ignore[index]
    node["status"] = {"conditions": [{"type": "Ready", "status": "True"}]}
    assert wanted_taints(node, plain_clock.now()) == [own]


def test_the_oldest_finished_pods_are_surplus() -> None:
    pods = [
        {"metadata": {"name": n, "creationTimestamp": t}} for n, t in (("a", "2"), ("b", "1"), ("c", "3"))
    ]
    assert [p["metadata"]["name"] for p in surplus(pods, 1)] == ["b", "a"]
    assert surplus(pods, 5) == []


async def the_node(plane: Plane) -> Object:
    return await plane.api.get(NODES, "n1")


def ready(obj: Object) -> str:
    return str(next(c["status"] for c in obj["status"]["conditions"] if c["type"] == "Ready"))


async def test_a_silent_node_becomes_unknown_and_returns() -> None:
    async with control_plane() as plane:
        await plane.run_pod("p")
        await plane.phase("p", "Running")
        assert ready(await the_node(plane)) == "True"
        await plane.clock.advance(100)
        assert ready(await the_node(plane)) == "True"
        plane.host.lose("n1")
        await plane.clock.advance(65)
        node = await the_node(plane)
        assert ready(node) == "Unknown"
        said = next(c for c in node["status"]["conditions"] if c["type"] == "Ready")
        assert (said["reason"], said["message"]) == (
            "NodeStatusUnknown",
            "Kubelet stopped posting node status.",
        )
        assert taints(node) == {("unreachable", "NoSchedule"), ("unreachable", "NoExecute")}
        pod = await plane.find(PODS, "p")
        assert pod is not None
        assert ready(pod) == "False"
        messages = {e["message"] for e in await plane.events("NodeNotReady")}
        assert messages == {"Node n1 status is now: NodeNotReady"}
        plane.host.recover("n1")
        await plane.clock.advance(15)
        node = await the_node(plane)
        assert (ready(node), taints(node)) == ("True", set())
        pod = await plane.find(PODS, "p")
        assert pod is not None
        assert ready(pod) == "True"


async def test_pods_of_a_lost_node_are_evicted_after_their_toleration() -> None:
    async with control_plane() as plane:
        await plane.run_pod("p")
        hurried: list[Object] = [
            {
                "key": "node.kubernetes.io/unreachable",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": 10,
            }
        ]
        await plane.run_pod("hurried", tolerations=hurried)
        await plane.phase("p", "Running")
        plane.host.lose("n1")
        await plane.clock.advance(80)
        first = await plane.find(PODS, "hurried")
        assert first is not None
        assert first["metadata"]["deletionTimestamp"]
        target = next(c for c in first["status"]["conditions"] if c["type"] == "DisruptionTarget")
        assert (target["reason"], target["message"]) == (
            "DeletionByTaintManager",
            "Taint manager: deleting due to NoExecute taint",
        )
        patient = await plane.find(PODS, "p")
        assert patient is not None
        assert "deletionTimestamp" not in patient["metadata"]
        await plane.clock.advance(300)
        patient = await plane.find(PODS, "p")
        assert patient is not None
        assert patient["metadata"]["deletionTimestamp"]
        # A lost node confirms nothing; when it is back, the pods go.
        plane.host.recover("n1")
        await plane.gone(PODS, "p")


async def test_a_taint_set_by_hand_evicts_at_once() -> None:
    async with control_plane() as plane:
        await plane.run_pod("p")
        await plane.phase("p", "Running")
        await plane.api.patch(NODES, "n1", {"spec": {"taints": [NO_EXECUTE]}})
        await plane.gone(PODS, "p")
        messages = [e["message"] for e in await plane.events("TaintManagerEviction")]
        assert messages == ["Marking for deletion Pod default/p"]


async def test_a_planned_failure_begins_and_ends() -> None:
    node = ScriptedNode(name="n1", failures=(Failure(after=20, seconds=100),))
    async with control_plane([node]) as plane:
        await plane.clock.advance(85)
        assert ready(await the_node(plane)) == "Unknown"
        await plane.clock.advance(60)
        assert ready(await the_node(plane)) == "True"


async def test_pods_of_a_deleted_node_fail_and_go() -> None:
    async with control_plane() as plane:
        await plane.run_pod("p")
        await plane.phase("p", "Running")
        plane.host.lose("n1")
        await plane.api.delete(NODES, "n1")
        await plane.clock.advance(30)
        assert await plane.find(PODS, "p")
        await plane.gone(PODS, "p", seconds=20)


async def test_finished_pods_beyond_the_threshold_go() -> None:
    async with control_plane(terminated_pod_threshold=2) as plane:
        for i in range(4):
            await plane.run_pod(f"p{i}", annotations={"scripted.podbay.dev/run-seconds": "1"})
            await plane.clock.advance(2)
        await plane.clock.advance(2)
        left = [p["metadata"]["name"] for p in (await plane.api.list(PODS, namespace="default")).items]
        assert left == ["p2", "p3"]


async def test_events_expire_after_an_hour() -> None:
    async with control_plane() as plane:
        await plane.run_pod("p")
        await plane.phase("p", "Running")
        assert await plane.events("Scheduled")
        await plane.clock.advance(3500)
        assert await plane.events("Scheduled")
        await plane.clock.advance(200)
        assert (await plane.api.list(EVENTS, namespace="default")).items == []
