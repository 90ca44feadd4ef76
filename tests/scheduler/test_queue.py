from __future__ import annotations

from scheduler_builders import pod

from podbay.embedded.scheduler.algorithm import Unschedulable
from podbay.embedded.scheduler.cache import PodInfo
from podbay.embedded.scheduler.queue import Change, Queue, QueuedPod

FULL = Unschedulable("full", frozenset(["NodeResourcesFit"]), frozenset(["NodeResourcesFit"]))
TOO_BIG = Unschedulable("too big", frozenset(["NodeResourcesFit"]))
NO_CLAIM = Unschedulable("claim", frozenset(["VolumeBinding"]))


def info(name: str, priority: int = 0, cpu: str = "1", labels: dict[str, str] | None = None) -> PodInfo:
    return PodInfo.of(pod(name, requests={"cpu": cpu}, priority=priority, labels=labels or {}))


def filled(*pods: PodInfo) -> Queue:
    queue = Queue()
    for p in pods:
        queue.add(p)
    return queue


def taken(queue: Queue) -> QueuedPod:
    item = queue.pop()
    assert item is not None
    return item


def names(queue: Queue) -> list[str]:
    found = []
    while (item := queue.pop()) is not None:
        found.append(item.pod.name)
    return found


def test_priority_then_order_of_arrival() -> None:
    assert names(filled(info("a"), info("b", 5), info("c"), info("d", 5))) == ["b", "d", "a", "c"]


def test_a_parked_pod_waits_for_a_change_that_helps() -> None:
    queue = filled(info("a"), info("b", cpu="9"), info("c"))
    queue.park(taken(queue), FULL)
    queue.park(taken(queue), TOO_BIG)
    queue.park(taken(queue), NO_CLAIM)
    assert queue.waiting == 3
    assert not queue.changed(Change.POD_ADDED)
    assert queue.changed(Change.CLAIM)
    assert names(queue) == ["c"]
    assert queue.changed(Change.POD_GONE)
    assert names(queue) == ["a"]
    assert queue.changed(Change.NODE)
    assert names(queue) == ["b"]


def test_one_of_a_class_is_tried_and_the_next_follows_success() -> None:
    queue = filled(*(info(f"p{i}") for i in range(4)))
    for _ in range(4):
        queue.park(taken(queue), FULL)
    queue.changed(Change.POD_GONE)
    first = taken(queue)
    assert (first.pod.name, queue.pop()) == ("p0", None)
    queue.bound(first)
    second = taken(queue)
    assert second.pod.name == "p1"
    queue.park(second, FULL)
    assert queue.pop() is None
    queue.changed(Change.POD_GONE)
    assert taken(queue).pod.name == "p1"


def test_a_tried_pod_that_vanishes_passes_its_turn_on() -> None:
    queue = filled(info("a"), info("b"))
    queue.park(taken(queue), FULL)
    queue.park(taken(queue), FULL)
    queue.changed(Change.POD_GONE)
    queue.discard("uid-a")
    assert names(queue) == ["b"]
    assert "uid-a" not in queue


def test_a_change_during_the_attempt_is_not_lost() -> None:
    queue = filled(info("a"))
    item = taken(queue)
    queue.changed(Change.POD_GONE)
    queue.park(item, FULL)
    assert names(queue) == ["a"]


def test_a_change_before_the_attempt_does_not_count() -> None:
    queue = filled(info("a"))
    queue.changed(Change.POD_GONE)
    queue.park(taken(queue), FULL)
    assert queue.pop() is None


def test_a_pod_whose_wishes_change_is_tried_again() -> None:
    queue = filled(info("a"))
    queue.park(taken(queue), FULL)
    queue.add(info("a"))
    assert queue.pop() is None
    queue.add(info("a", labels={"x": "y"}))
    assert names(queue) == ["a"]


def test_errors_come_back_after_their_time() -> None:
    queue = filled(info("a"))
    queue.retry(taken(queue), 5.0)
    assert queue.due(4.9) == 5.0
    assert queue.pop() is None
    assert queue.due(5.0) is None
    assert names(queue) == ["a"]
