from __future__ import annotations

from typing import Any

import pytest
from scheduler_builders import chosen, cluster, message, node, pod

from podbay.objects.meta import Object

TAINT = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}
NOT_HELPFUL = "1 Preemption is not helpful for scheduling."


def one(reason: str, preemption: str = NOT_HELPFUL) -> str:
    return (
        f"0/1 nodes are available: {reason}. no new claims to deallocate, "
        f"preemption: 0/1 nodes are available: {preemption}"
    )


def in_zone(operator: str, *values: str) -> Object:
    term = {"matchExpressions": [{"key": "zone", "operator": operator, "values": list(values)}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}


def apart(kind: str, key: str = "zone", **labels: str) -> Object:
    term = {"topologyKey": key, "labelSelector": {"matchLabels": labels}}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


@pytest.mark.parametrize(
    ("a_node", "a_pod", "words"),
    [
        (node(unschedulable=True), pod(), one("1 node(s) were unschedulable")),
        (node(taints=[TAINT]), pod(), one("1 node(s) had untolerated taint(s)")),
        (node(), pod(nodeName="other"), one("1 node(s) didn't match the requested node name")),
        (
            node(),
            pod(nodeSelector={"a": "b"}),
            one("1 node(s) didn't match Pod's node affinity/selector"),
        ),
        (
            node(labels={"zone": "1"}),
            pod(affinity=in_zone("NotIn", "1")),
            one("1 node(s) didn't match Pod's node affinity/selector"),
        ),
        (node(), pod(requests={"cpu": "5"}), one("1 Insufficient cpu")),
        (
            node(),
            pod(requests={"cpu": "5", "memory": "9Gi"}),
            one("1 Insufficient cpu, 1 Insufficient memory"),
        ),
        (node(), pod(requests={"ephemeral-storage": "11Gi"}), one("1 Insufficient ephemeral-storage")),
        (node(), pod(requests={"x.dev/a": "1"}), one("1 Insufficient x.dev/a")),
        (node(), pod(overhead={"cpu": "5"}), one("1 Insufficient cpu")),
        (
            node(pods="0"),
            pod(),
            one("1 Too many pods", "1 No preemption victims found for incoming pod."),
        ),
        (
            node(),
            pod(affinity=apart("podAffinity", app="a")),
            one("1 node(s) didn't match pod affinity rules"),
        ),
        (
            node(),
            pod(
                topologySpreadConstraints=[
                    {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
                ]
            ),
            one("1 node(s) didn't match pod topology spread constraints (missing required label)"),
        ),
    ],
)
def test_a_single_empty_node_refuses(a_node: Object, a_pod: Object, words: str) -> None:
    assert message(cluster([a_node]), a_pod) == words


@pytest.mark.parametrize(
    "toleration",
    [
        {"operator": "Exists"},
        {"key": "dedicated", "operator": "Exists"},
        {"key": "dedicated", "value": "gpu"},
        {"key": "dedicated", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"},
    ],
)
def test_a_toleration_opens_a_tainted_node(toleration: Object) -> None:
    assert chosen(cluster([node(taints=[TAINT])]), pod(tolerations=[toleration])) == "n1"


@pytest.mark.parametrize(
    "toleration",
    [
        {"key": "dedicated", "value": "cpu"},
        {"key": "other", "operator": "Exists"},
        {"key": "dedicated", "operator": "Exists", "effect": "NoExecute"},
    ],
)
def test_a_wrong_toleration_does_not(toleration: Object) -> None:
    assert "untolerated taint(s)" in message(cluster([node(taints=[TAINT])]), pod(tolerations=[toleration]))


def test_a_prefer_no_schedule_taint_only_moves_a_pod_elsewhere() -> None:
    soft = {**TAINT, "effect": "PreferNoSchedule"}
    assert chosen(cluster([node("a", taints=[soft])]), pod()) == "a"
    assert chosen(cluster([node("a", taints=[soft], cpu="64", memory="64Gi"), node("b")]), pod()) == "b"


def test_cordoned_nodes_take_pods_that_tolerate_it() -> None:
    toleration = {"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}
    assert chosen(cluster([node(unschedulable=True)]), pod(tolerations=[toleration])) == "n1"


def test_reasons_are_counted_over_nodes_and_sorted_as_text() -> None:
    nodes = [node("a", taints=[TAINT]), node("b", cpu="1"), node("c", cpu="1")]
    assert message(cluster(nodes), pod(requests={"cpu": "2"})) == (
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. "
        "no new claims to deallocate, preemption: 0/3 nodes are available: "
        "3 Preemption is not helpful for scheduling."
    )


def test_a_full_node_has_no_victims_of_equal_priority() -> None:
    full = cluster([node()], {"n1": [pod("a", requests={"cpu": "4"})]})
    assert message(full, pod(requests={"cpu": "1"})) == one(
        "1 Insufficient cpu", "1 No preemption victims found for incoming pod."
    )


def test_no_nodes_at_all() -> None:
    assert message(cluster([]), pod()) == "no nodes available to schedule pods"


@pytest.mark.parametrize(
    ("used", "wanted", "fits"),
    [
        ({"hostPort": 80}, {"hostPort": 80}, False),
        ({"hostPort": 80}, {"hostPort": 80, "protocol": "UDP"}, True),
        ({"hostPort": 80}, {"hostPort": 81}, True),
        ({"hostPort": 80, "hostIP": "127.0.0.1"}, {"hostPort": 80}, False),
        ({"hostPort": 80, "hostIP": "127.0.0.1"}, {"hostPort": 80, "hostIP": "127.0.0.2"}, True),
        ({"containerPort": 80}, {"hostPort": 80}, True),
    ],
)
def test_host_ports(used: Object, wanted: Object, fits: bool) -> None:
    cache = cluster([node()], {"n1": [pod("a", ports=[used])]})
    if fits:
        assert chosen(cache, pod(ports=[wanted])) == "n1"
    else:
        expected = "1 node(s) didn't have free ports for the requested pod ports"
        assert expected in message(cache, pod(ports=[wanted]))


def test_pod_affinity_follows_and_the_first_of_a_group_may_start() -> None:
    nodes = [node("a", labels={"zone": "1"}), node("b", labels={"zone": "2"})]
    near = apart("podAffinity", app="web")
    assert chosen(cluster(nodes, {"b": [pod("x", labels={"app": "web"})]}), pod(affinity=near)) == "b"
    assert chosen(cluster(nodes), pod(affinity=near, labels={"app": "web"})) in ("a", "b")
    assert "2 node(s) didn't match pod affinity rules" in message(cluster(nodes), pod(affinity=near))


def test_anti_affinity_works_both_ways() -> None:
    nodes = [node("a", labels={"zone": "1"})]
    away = apart("podAntiAffinity", app="web")
    taken = cluster(nodes, {"a": [pod("x", labels={"app": "web"})]})
    assert "1 node(s) didn't match pod anti-affinity rules" in message(taken, pod(affinity=away))
    shy = cluster(nodes, {"a": [pod("x", affinity=away)]})
    words = message(shy, pod(labels={"app": "web"}))
    assert "1 node(s) didn't satisfy existing pods anti-affinity rules" in words
    assert chosen(shy, pod(labels={"app": "db"})) == "a"
    assert chosen(shy, pod(labels={"app": "web"}, namespace="other")) == "a"


def test_topology_spread_keeps_the_skew() -> None:
    nodes = [node("a", labels={"zone": "1"}), node("b", labels={"zone": "2"})]
    constraint = {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "w"}},
    }
    mine: dict[str, Any] = {"labels": {"app": "w"}, "topologySpreadConstraints": [constraint]}
    one_each = cluster(nodes, {"a": [pod("x", labels={"app": "w"})]})
    assert chosen(one_each, pod(**mine)) == "b"
    cordoned = [nodes[0], node("b", labels={"zone": "2"}, unschedulable=True)]
    words = message(cluster(cordoned, {"a": [pod("x", labels={"app": "w"})]}), pod(**mine))
    assert "1 node(s) didn't match pod topology spread constraints, 1 node(s) were unschedulable" in words


CLAIM = {"metadata": {"name": "c"}, "spec": {}, "status": {"phase": "Pending"}}


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        (None, 'persistentvolumeclaim "c" not found'),
        (CLAIM, "pod has unbound immediate PersistentVolumeClaims"),
        (
            {
                "metadata": {"deletionTimestamp": "t"},
                "spec": {"volumeName": "v"},
                "status": {"phase": "Bound"},
            },
            'persistentvolumeclaim "c" is being deleted',
        ),
        (
            {"metadata": {}, "spec": {"volumeName": "v"}, "status": {"phase": "Lost"}},
            'persistentvolumeclaim "c" bound to non-existent persistentvolume "v"',
        ),
    ],
)
def test_claims_are_checked_before_any_node(claim: Object | None, words: str) -> None:
    uses = pod(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}])
    claims = {"d/c": claim} if claim else {}
    assert message(cluster([node()]), uses, claims=claims) == f"0/1 nodes are available: {words}. not found"


def test_bound_and_delayed_claims_do_not_stand_in_the_way() -> None:
    uses = pod(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}])
    bound = {"metadata": {}, "spec": {"volumeName": "v"}, "status": {"phase": "Bound"}}
    assert chosen(cluster([node()]), uses, claims={"d/c": bound}) == "n1"
    delayed = {"metadata": {}, "spec": {"storageClassName": "local"}, "status": {"phase": "Pending"}}
    classes = frozenset(["local"])
    assert chosen(cluster([node()]), uses, claims={"d/c": delayed}, delayed_classes=classes) == "n1"


def test_the_emptier_node_wins() -> None:
    cache = cluster([node("a"), node("b")], {"a": [pod("x", requests={"cpu": "2", "memory": "4Gi"})]})
    assert chosen(cache, pod(requests={"cpu": "1"})) == "b"


def test_preferred_node_affinity_beats_emptiness() -> None:
    term = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}
    preferred = [{"weight": 50, "preference": term}]
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
    nodes = [node("a", labels={"disk": "ssd"}), node("b")]
    busy = cluster(nodes, {"a": [pod("x", requests={"cpu": "2", "memory": "4Gi"})]})
    assert chosen(busy, pod(affinity=affinity)) == "a"
