"""Events of the kubelet on a real API: repetitions are counted, floods are cut."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from podbay.aio.tasks import TaskGroup
from podbay.aio.virtual import VirtualClock
from podbay.embedded.cluster import ClusterOptions, EmbeddedCluster
from podbay.node.recorder import EventRecorder
from podbay.objects.api import ClusterApi
from podbay.objects.events import EVENTS

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "default", "uid": "u"},
    "spec": {"containers": [{"name": "main"}], "initContainers": [{"name": "first"}]},
}


@pytest.fixture
async def api() -> AsyncIterator[ClusterApi]:
    async with EmbeddedCluster(ClusterOptions(nodes=())) as cluster:
        yield cluster.api()


async def recorded(api: ClusterApi, clock: VirtualClock, *rounds: Any) -> list[dict[str, Any]]:
    """The pod's events after each round was said and time has passed."""
    recorder = EventRecorder(api, clock, node="n")
    async with TaskGroup("test") as group:
        group.start("events", recorder.run())
        for say, seconds in rounds:
            say(recorder)
            await recorder.drain()
            await clock.advance(seconds)
    found = await api.list(EVENTS, namespace="default")
    return [e for e in found.items if e["involvedObject"].get("uid") == "u"]


def clock() -> VirtualClock:
    return VirtualClock(datetime(2027, 1, 1, tzinfo=UTC))


async def test_the_shape_of_an_event(api: ClusterApi) -> None:
    (event,) = await recorded(
        api, clock(), (lambda r: r.pod(POD, "Normal", "Started", "Container started", container="first"), 0)
    )
    assert event["involvedObject"]["fieldPath"] == "spec.initContainers{first}"
    assert event["source"] == {"component": "kubelet", "host": "n"}
    assert (event["reportingComponent"], event["reportingInstance"]) == ("kubelet", "n")
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2027-01-01T00:00:00Z"


async def test_a_repetition_is_counted(api: ClusterApi) -> None:
    def say(recorder: EventRecorder) -> None:
        recorder.pod(POD, "Warning", "BackOff", "again", container="main")

    (event,) = await recorded(api, clock(), (say, 60), (say, 60), (say, 0))
    assert event["count"] == 3
    assert (event["firstTimestamp"], event["lastTimestamp"]) == (
        "2027-01-01T00:00:00Z",
        "2027-01-01T00:02:00Z",
    )


async def test_many_messages_of_one_kind_become_one(api: ClusterApi) -> None:
    def say(recorder: EventRecorder) -> None:
        for i in range(14):
            recorder.pod(POD, "Warning", "Unhealthy", f"failed {i}")

    events = await recorded(api, clock(), (say, 0))
    (combined,) = [e for e in events if e["message"].startswith("(combined")]
    assert len(events) == 10
    assert combined["message"] == "(combined from similar events): failed 13"
    assert combined["count"] == 5


async def test_a_flood_is_cut_and_goes_on_slowly(api: ClusterApi) -> None:
    def flood(recorder: EventRecorder) -> None:
        for i in range(40):
            recorder.pod(POD, "Normal", f"Reason{i}", "x")

    def one(recorder: EventRecorder) -> None:
        recorder.pod(POD, "Normal", "Later", "x")

    events = await recorded(api, clock(), (flood, 299), (one, 2), (one, 0))
    assert len(events) == 26
    assert [e["reason"] for e in events].count("Later") == 1


async def test_an_event_nobody_can_store_is_dropped(api: ClusterApi) -> None:
    lost = {**POD, "metadata": {**POD["metadata"], "namespace": "nowhere"}}

    def say(recorder: EventRecorder) -> None:
        recorder.pod(lost, "Normal", "A", "x")
        recorder.pod(POD, "Normal", "B", "x")

    (event,) = await recorded(api, clock(), (say, 0))
    assert event["reason"] == "B"
