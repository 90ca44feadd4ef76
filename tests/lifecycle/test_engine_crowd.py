"""Many pods without room: what they ask of the cluster does not grow with their number."""

from __future__ import annotations

import time

from engine_parts import Cluster, Engine, task
from patience import eventually

from podbay.aio.virtual import VirtualClock
from podbay.kube.looks import BURST, PER_SECOND, Looks
from podbay.lifecycle.plan import Deadlines

CROWD = 100


async def test_a_crowd_that_waits_for_room_asks_little(started: Engine, cluster: Cluster) -> None:
    large = {"resources": {"requests": {"cpu": "1000000"}, "limits": {"cpu": "1000000"}}}
    lists = started.cluster.client.counter.total
    before, began = lists["list"], time.monotonic()
    lives = [
        started.start(task(cluster.namespace, pod=large, deadlines=Deadlines(schedule=600)))
        for _ in range(CROWD)
    ]
    # Each was told what it waits for, by its own status, and has had its turn to look.
    await eventually(lambda: all("cpu" in life.run.state.text for life in lives), seconds=240)
    await eventually(lambda: all(life.run.state.explanations for life in lives), seconds=240)
    asked, seconds = lists["list"] - before, time.monotonic() - began
    # One of all nodes in ten seconds, and the events of some.
    assert asked <= BURST + PER_SECOND * seconds + seconds / 10 + 2


async def test_the_events_of_one_that_fails_are_read_whoever_waits(started: Engine, cluster: Cluster) -> None:
    looks = started.cluster.looks
    while looks.take():
        pass
    life = started.start(task(cluster.namespace, code=3, run="0.5"))
    await life.until("running")
    before = started.cluster.client.counter.total["list"]
    assert (await life.outcome()).exit_code == 3
    # Events, and its node.
    assert started.cluster.client.counter.total["list"] == before + 2


async def test_looks_come_back_with_time(started: Engine) -> None:
    clock = VirtualClock()
    looks = Looks(started.cluster.client, clock)
    assert [looks.take() for _ in range(BURST + 1)] == [True] * BURST + [False]
    await clock.advance(1 / PER_SECOND)
    assert [looks.take(), looks.take()] == [True, False]
    await clock.advance(3600)
    assert sum(looks.take() for _ in range(BURST * 2)) == BURST


async def test_all_nodes_are_read_once_for_all(started: Engine) -> None:
    clock = VirtualClock()
    looks = Looks(started.cluster.client, clock)
    lists = started.cluster.client.counter.total
    before = lists["list"]
    first, again = await looks.nodes(), await looks.nodes()
    assert [node["metadata"]["name"] for node in first] and first is again
    assert lists["list"] == before + 1
    await clock.advance(11)
    await looks.nodes()
    assert lists["list"] == before + 2
