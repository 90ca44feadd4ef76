from __future__ import annotations

from scheduler_builders import chosen, cluster, decide, message, node, pod

from podbay.embedded.scheduler.algorithm import Unschedulable
from podbay.embedded.scheduler.cache import Cache, PodInfo
from podbay.objects.meta import Object


def outcome(cache: Cache, p: Object) -> tuple[str, set[str]]:
    decided = decide(cache, p)
    assert isinstance(decided, Unschedulable)
    assert decided.preemption is not None
    return decided.preemption.node, {v.name for v in decided.preemption.victims}


def running(name: str, cpu: str, priority: int, start: str = "2026-01-01T00:00:00Z") -> Object:
    return pod(
        name, requests={"cpu": cpu}, priority=priority, status={"phase": "Running", "startTime": start}
    )


def test_only_as_many_victims_as_needed_least_important_first() -> None:
    cache = cluster([node()], {"n1": [running("a", "1", 1), running("b", "2", 5), running("c", "1", 3)]})
    important = pod(requests={"cpu": "2"}, priority=10)
    assert outcome(cache, important) == ("n1", {"a", "c"})
    assert message(cache, important) == "0/1 nodes are available: 1 Insufficient cpu."


def test_a_younger_pod_goes_before_an_older_one_of_the_same_priority() -> None:
    old, young = running("old", "2", 0), running("young", "2", 0, "2026-01-02T00:00:00Z")
    assert outcome(cluster([node()], {"n1": [old, young]}), pod(requests={"cpu": "2"}, priority=1)) == (
        "n1",
        {"young"},
    )


def test_the_node_whose_victims_matter_least() -> None:
    nodes = [node("a"), node("b"), node("c")]
    cache = cluster(
        nodes,
        {
            "a": [running("x", "4", 5)],
            "b": [running("y", "4", 2)],
            "c": [
                running("z", "4", 2),
            ],
        },
    )
    cache.add_pod(PodInfo.of(running("w", "0", 1)), "c")
    assert outcome(cache, pod(requests={"cpu": "4"}, priority=9))[0] in ("b", "c")
    several = cluster(
        nodes[:2], {"a": [running("x", "2", 1), running("v", "2", 1)], "b": [running("y", "4", 1)]}
    )
    assert outcome(several, pod(requests={"cpu": "4"}, priority=9)) == ("b", {"y"})


def test_equals_and_betters_are_never_victims() -> None:
    cache = cluster([node()], {"n1": [running("a", "4", 10)]})
    assert "1 No preemption victims found for incoming pod." in message(
        cache, pod(requests={"cpu": "1"}, priority=10)
    )


def test_removing_what_may_go_is_not_enough() -> None:
    cache = cluster([node()], {"n1": [running("a", "3", 20), running("b", "1", 0)]})
    assert message(cache, pod(requests={"cpu": "2"}, priority=10)) == (
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, "
        "preemption: 0/1 nodes are available: 1 Insufficient cpu."
    )


def test_preemption_policy_never() -> None:
    cache = cluster([node()], {"n1": [running("a", "4", 0)]})
    polite = pod(requests={"cpu": "1"}, priority=10, preemptionPolicy="Never")
    assert message(cache, polite) == (
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, "
        "preemption: not eligible due to preemptionPolicy=Never."
    )


def test_a_preemptor_waits_for_its_victims() -> None:
    ending = running("a", "4", 0)
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:30Z"
    ending["status"]["conditions"] = [
        {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
    ]
    cache = cluster([node()], {"n1": [ending]})
    waiting = pod(requests={"cpu": "1"}, priority=10, status={"nominatedNodeName": "n1"})
    assert message(cache, waiting).endswith("not eligible due to a terminating pod on the nominated node.")


def test_room_of_a_nominated_pod_is_not_given_to_lesser_ones() -> None:
    cache = cluster([node()])
    cache.nominated["uid-big"] = (PodInfo.of(pod("big", requests={"cpu": "3"}, priority=5)), "n1")
    assert "1 Insufficient cpu" in message(cache, pod(requests={"cpu": "2"}))
    assert chosen(cache, pod(requests={"cpu": "1"})) == "n1"
    assert chosen(cache, pod(requests={"cpu": "2"}, priority=6)) == "n1"


def test_anti_affinity_is_cured_by_removing_the_other() -> None:
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "w"}}}
    away = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    shy = pod("a", priority=1, affinity=away, status={"phase": "Running"})
    cache = cluster([node()], {"n1": [shy]})
    assert outcome(cache, pod(labels={"app": "w"}, priority=2)) == ("n1", {"a"})
