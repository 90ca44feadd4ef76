"""Many scripted pods at once, on the machine's own clock."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from control_plane import PODS, SERVICE_ACCOUNTS, Plane, control_plane

from podbay.aio.clock import SystemClock
from podbay.embedded.scripted import Script, ScriptedNode


async def phases(plane: Plane) -> Counter[str]:
    found = (await plane.api.list(PODS, namespace="default")).items
    return Counter(p["status"].get("phase") for p in found)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "room"), [(600, 80)])
async def test_more_pods_than_room_all_get_their_turn(count: int, room: int) -> None:
    node = ScriptedNode(name="n1", capacity={"pods": str(room), "cpu": "1000", "memory": "1000Gi"})
    script = Script.from_data([{"containers": {"*": {"run": 0.2, "jitter": 0.2}}}])
    async with control_plane([node], script, clock=SystemClock()) as plane:
        while await plane.find(SERVICE_ACCOUNTS, "default") is None:
            await asyncio.sleep(0.01)
        tasks = len(asyncio.all_tasks())
        for i in range(count):
            await plane.run_pod(f"p{i}")
            await asyncio.sleep(0)
        # A pod costs heap entries, never a task.
        assert len(asyncio.all_tasks()) <= tasks + 3
        while (await phases(plane))["Succeeded"] < count:
            await asyncio.sleep(0.5)
        assert plane.host.running_pods == 0
        reasons = Counter(
            p["status"]["containerStatuses"][0]["state"]["terminated"]["reason"]
            for p in (await plane.api.list(PODS, namespace="default")).items
        )
        assert reasons == {"Completed": count}
