"""Priority, DefaultTolerationSeconds, RuntimeClass, TaintNodesByCondition, StorageObjectInUseProtection."""

from __future__ import annotations

from typing import Any

import pytest
from admission_builders import World, pod, reason, request, run

from podbay.apiserver.admission.chain import default_plugins
from podbay.apiserver.admission.default_tolerations import DefaultTolerationSeconds
from podbay.apiserver.admission.node_taint import TaintNodesByCondition
from podbay.apiserver.admission.priority import Priority
from podbay.apiserver.admission.runtime_class import RuntimeClass, merge_tolerations
from podbay.apiserver.admission.storage_protection import StorageObjectInUseProtection

CLASSES = "priorityclasses.scheduling.k8s.io"
RUNTIMES = "runtimeclasses.node.k8s.io"


def _spec(world: World, attributes: Any, plugin: Any) -> dict[str, Any]:
    obj = run(world, attributes, plugin).obj
    assert obj is not None
    return obj["spec"]  # type: ignore[no-any-return]


def _class(world: World, name: str, value: int, **fields: Any) -> None:
    world.put(CLASSES, {"metadata": {"name": name}, "value": value, **fields})


def _priority(world: World, **spec: Any) -> dict[str, Any]:
    admitted = _spec(world, request("pods", pod(**spec)), Priority())
    fields = ("priorityClassName", "priority", "preemptionPolicy")
    return {field: admitted[field] for field in fields if field in admitted}


def test_without_classes_priority_is_zero() -> None:
    assert _priority(World()) == {"priority": 0, "preemptionPolicy": "PreemptLowerPriority"}


def test_the_default_class_applies_and_the_lowest_of_several() -> None:
    world = World()
    _class(world, "a", 50, globalDefault=True, preemptionPolicy="Never")
    _class(world, "b", 10, globalDefault=True, preemptionPolicy="PreemptLowerPriority")
    assert _priority(world) == {
        "priorityClassName": "b",
        "priority": 10,
        "preemptionPolicy": "PreemptLowerPriority",
    }


def test_a_named_class_decides() -> None:
    world = World()
    _class(world, "never", -5, preemptionPolicy="Never")
    expected = {"priorityClassName": "never", "priority": -5, "preemptionPolicy": "Never"}
    assert _priority(world, priorityClassName="never") == expected
    assert _priority(world, priorityClassName="never", priority=-5) == expected


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"priorityClassName": "ghost"}, "no PriorityClass with name ghost was found"),
        (
            {"priorityClassName": "high", "priority": 1},
            "the integer value of priority (1) must not be provided in pod spec; "
            "priority admission controller computed 100 from the given PriorityClass name",
        ),
        (
            {"priority": 7},
            "the integer value of priority (7) must not be provided in pod spec; "
            "priority admission controller computed 0 from the given PriorityClass name",
        ),
        (
            {"priorityClassName": "high", "preemptionPolicy": "Never"},
            "the string value of PreemptionPolicy (Never) must not be provided in pod spec; "
            "priority admission controller computed PreemptLowerPriority from the given PriorityClass name",
        ),
    ],
)
def test_priorities_of_ones_own_are_refused(spec: dict[str, Any], message: str) -> None:
    world = World()
    _class(world, "high", 100, preemptionPolicy="PreemptLowerPriority")
    assert reason(world, request("pods", pod(**spec)), Priority()) == message


def test_updates_keep_what_was_resolved() -> None:
    old = pod(priority=5, preemptionPolicy="Never")
    new = _spec(World(), request("pods", pod(), operation="UPDATE", old=old), Priority())
    assert (new["priority"], new["preemptionPolicy"]) == (5, "Never")


@pytest.mark.parametrize(
    ("operation", "name", "default", "allowed"),
    [
        ("CREATE", "second", True, False),
        ("CREATE", "second", False, True),
        ("UPDATE", "first", True, True),
        ("UPDATE", "second", True, False),
    ],
)
def test_only_one_class_is_the_default(operation: str, name: str, default: bool, allowed: bool) -> None:
    world = World()
    _class(world, "first", 1, globalDefault=True)
    new = {"metadata": {"name": name}, "value": 2, "globalDefault": default}
    attributes = request(CLASSES, new, operation=operation)
    if allowed:
        run(world, attributes, Priority())
    else:
        message = "PriorityClass first is already marked as default. Only one default can exist"
        assert reason(world, attributes, Priority()) == message


NOT_READY = {
    "key": "node.kubernetes.io/not-ready",
    "operator": "Exists",
    "effect": "NoExecute",
    "tolerationSeconds": 300,
}
UNREACHABLE = {**NOT_READY, "key": "node.kubernetes.io/unreachable"}


@pytest.mark.parametrize(
    ("given", "added"),
    [
        ([], [NOT_READY, UNREACHABLE]),
        ([{**NOT_READY, "tolerationSeconds": 10}], [UNREACHABLE]),
        ([{"operator": "Exists"}], []),
        ([{"operator": "Exists", "effect": "NoExecute"}], []),
        ([{"operator": "Exists", "effect": "NoSchedule"}], [NOT_READY, UNREACHABLE]),
        ([{"key": "node.kubernetes.io/unreachable", "operator": "Exists"}], [NOT_READY]),
        ([{"key": "other", "operator": "Exists"}], [NOT_READY, UNREACHABLE]),
    ],
)
def test_default_tolerations(given: list[dict[str, Any]], added: list[dict[str, Any]]) -> None:
    spec = _spec(World(), request("pods", pod(tolerations=list(given))), DefaultTolerationSeconds())
    assert spec["tolerations"] == given + added


def _runtime(world: World, **fields: Any) -> None:
    world.put(RUNTIMES, {"metadata": {"name": "rc"}, "handler": "h", **fields})


def test_a_runtime_class_adds_overhead_selector_and_tolerations() -> None:
    world = World()
    scheduling = {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "t", "operator": "Exists"}]}
    _runtime(world, overhead={"podFixed": {"cpu": "100m"}}, scheduling=scheduling)
    subject = pod(runtimeClassName="rc", nodeSelector={"c": "d"}, overhead={"cpu": "0.1"})
    spec = _spec(world, request("pods", subject), RuntimeClass())
    assert spec["overhead"] == {"cpu": "100m"}
    assert spec["nodeSelector"] == {"a": "b", "c": "d"}
    assert spec["tolerations"] == [{"key": "t", "operator": "Exists"}]


@pytest.mark.parametrize(
    ("runtime", "spec", "message"),
    [
        ({}, {"runtimeClassName": "gone"}, 'pod rejected: RuntimeClass "gone" not found'),
        (
            {"overhead": {"podFixed": {"cpu": "1"}}},
            {"runtimeClassName": "rc", "overhead": {"cpu": "2"}},
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        ),
        (
            {},
            {"runtimeClassName": "rc", "overhead": {"cpu": "2"}},
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
        (
            {},
            {"overhead": {"cpu": "2"}},
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
        (
            {"scheduling": {"nodeSelector": {"a": "b"}}},
            {"runtimeClassName": "rc", "nodeSelector": {"a": "c"}},
            "conflict: runtimeClass.scheduling.nodeSelector[a] = b; pod.spec.nodeSelector[a] = c",
        ),
    ],
)
def test_runtime_class_refusals(runtime: dict[str, Any], spec: dict[str, Any], message: str) -> None:
    world = World()
    _runtime(world, **runtime)
    assert reason(world, request("pods", pod(**spec)), RuntimeClass()) == message


EVERYTHING = {"operator": "Exists"}
KEY = {"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("first", "second", "merged"),
    [
        ([KEY], [KEY], [KEY]),
        ([KEY], [EVERYTHING], [EVERYTHING]),
        ([EVERYTHING], [KEY], [EVERYTHING]),
        ([KEY], [{**KEY, "value": "w"}], [KEY, {**KEY, "value": "w"}]),
        ([KEY], [{"key": "k", "operator": "Exists"}], [{"key": "k", "operator": "Exists"}]),
        (
            [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}],
            [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9}],
            [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9}],
        ),
    ],
)
def test_merging_tolerations(first: list[Any], second: list[Any], merged: list[Any]) -> None:
    assert merge_tolerations(first, second) == merged


TAINT = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("taints", "expected"),
    [
        (None, [TAINT]),
        ([TAINT], [TAINT]),
        ([{**TAINT, "effect": "NoExecute"}], [{**TAINT, "effect": "NoExecute"}, TAINT]),
    ],
)
def test_new_nodes_are_not_ready(taints: list[Any] | None, expected: list[Any]) -> None:
    node = {"metadata": {"name": "n"}, "spec": {} if taints is None else {"taints": taints}}
    assert _spec(World(), request("nodes", node), TaintNodesByCondition())["taints"] == expected


def test_nodes_are_tainted_once() -> None:
    node = {"metadata": {"name": "n"}, "spec": {}}
    run(World(), request("nodes", node, operation="UPDATE", old=node), TaintNodesByCondition())
    assert node["spec"] == {}


@pytest.mark.parametrize(
    ("key", "finalizer"),
    [
        ("persistentvolumes", "kubernetes.io/pv-protection"),
        ("persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    ],
)
def test_storage_is_protected_once(key: str, finalizer: str) -> None:
    plugin = StorageObjectInUseProtection()
    obj: dict[str, Any] = {"metadata": {"name": "v", "finalizers": ["other/f"]}}
    for _ in range(2):
        run(World(), request(key, obj), plugin)
        assert obj["metadata"]["finalizers"] == ["other/f", finalizer]


def test_the_chain_is_in_the_order_of_kubernetes() -> None:
    assert [plugin.name for plugin in default_plugins(before_quota=[Priority()])] == [
        "NamespaceLifecycle",
        "LimitRanger",
        "ServiceAccount",
        "TaintNodesByCondition",
        "PodSecurity",
        "Priority",
        "DefaultTolerationSeconds",
        "StorageObjectInUseProtection",
        "RuntimeClass",
        "Priority",
        "ResourceQuota",
    ]


@pytest.mark.parametrize("spec", [{}, {"spec": None}, {"spec": {}}])
def test_pods_without_a_spec_do_not_break_the_chain(spec: dict[str, Any]) -> None:
    run(World(), request("pods", {"metadata": {"name": "p"}, **spec}))
