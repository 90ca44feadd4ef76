from __future__ import annotations

import copy
from typing import Any

import pytest
from admission_builders import NOW, World, pod, reason, request, resources, run
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from podbay.apiserver import quota
from podbay.apiserver.admission.resource_quota import ResourceQuota
from podbay.errors import ApiError
from podbay.objects.quantity import Quantity

PLUGIN = ResourceQuota()


def _cpu(request_cpu: str, **spec: Any) -> dict[str, Any]:
    return pod(resources({"cpu": request_cpu}, {"cpu": request_cpu}), **spec)


def test_every_quota_is_charged() -> None:
    world = World()
    world.put_quota("a", {"pods": "2", "requests.cpu": "2"})
    world.put_quota("b", {"limits.cpu": "4", "secrets": "1"})
    run(world, request("pods", _cpu("500m")), PLUGIN)
    run(world, request("pods", _cpu("1")), PLUGIN)
    assert world.used("a") == {"pods": "2", "requests.cpu": "1500m"}
    assert world.used("b") == {"limits.cpu": "1500m", "secrets": "0"}


def test_one_quota_refuses_for_all() -> None:
    world = World()
    world.put_quota("a", {"pods": "2"})
    world.put_quota("b", {"requests.cpu": "1"})
    assert reason(world, request("pods", _cpu("2")), PLUGIN) == (
        "exceeded quota: b, requested: requests.cpu=2, used: requests.cpu=0, limited: requests.cpu=1"
    )
    assert world.used("a") == {"pods": "0"}


def test_all_that_is_exceeded_is_listed_in_order() -> None:
    world = World()
    world.put_quota("q", {"requests.memory": "1Gi", "limits.cpu": "500m", "pods": "5"})
    subject = pod(resources({"memory": "2Gi"}, {"cpu": "1"}))
    assert reason(world, request("pods", subject), PLUGIN) == (
        "exceeded quota: q, requested: limits.cpu=1,requests.memory=2Gi, "
        "used: limits.cpu=0,requests.memory=0, limited: limits.cpu=500m,requests.memory=1Gi"
    )


def test_missing_values_come_before_exceeded_ones() -> None:
    world = World()
    world.put_quota("q", {"pods": "0", "cpu": "1", "memory": "1"})
    subject = pod({}, {}, initContainers=[{"name": "i"}])
    message = "failed quota: q: must specify cpu for: c0,c1,i; memory for: c0,c1,i"
    assert reason(world, request("pods", subject), PLUGIN) == message


def test_a_quota_that_is_not_counted_yet_refuses() -> None:
    world = World()
    quota_object = world.put_quota("q", {"pods": "1", "count/pods": "1"})
    status = {"hard": quota_object["status"]["hard"], "used": {}}
    world.update_status("resourcequotas", "team", "q", status)
    message = "status unknown for quota: q, resources: count/pods,pods"
    assert reason(world, request("pods", pod()), PLUGIN) == message


def test_a_quota_without_status_is_not_enforced() -> None:
    world = World()
    world.put("resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}})
    run(world, request("pods", pod()), PLUGIN)


def test_dry_runs_are_judged_but_not_charged() -> None:
    world = World()
    world.put_quota("q", {"pods": "1"})
    for _ in range(2):
        run(world, request("pods", pod(), dry_run=True), PLUGIN)
    assert world.used("q") == {"pods": "0"}


@pytest.mark.parametrize(
    ("key", "resource"),
    [
        ("secrets", "secrets"),
        ("configmaps", "count/configmaps"),
        ("roles.rbac.authorization.k8s.io", "count/roles.rbac.authorization.k8s.io"),
        ("resourcequotas", "resourcequotas"),
    ],
)
def test_objects_are_counted(key: str, resource: str) -> None:
    world = World()
    world.put_quota("q", {resource: "1"})
    run(world, request(key, {"metadata": {"name": "a"}}), PLUGIN)
    assert reason(world, request(key, {"metadata": {"name": "b"}}), PLUGIN) == (
        f"exceeded quota: q, requested: {resource}=1, used: {resource}=1, limited: {resource}=1"
    )


@pytest.mark.parametrize(
    ("operation", "subresource"),
    [("UPDATE", ""), ("CREATE", "binding"), ("CREATE", "eviction"), ("DELETE", "")],
)
def test_other_writes_of_pods_are_free(operation: str, subresource: str) -> None:
    world = World()
    world.put_quota("q", {"pods": "0"})
    run(world, request("pods", pod(), operation=operation, old=pod(), subresource=subresource), PLUGIN)


def test_cluster_objects_and_namespaces_are_free() -> None:
    world = World()
    world.put_quota("q", {"count/namespaces": "0"})
    run(world, request("namespaces", {"metadata": {"name": "team"}}, namespace="team"), PLUGIN)
    run(world, request("nodes", {"metadata": {"name": "n"}}), PLUGIN)


def test_scoped_quotas_see_their_pods_only() -> None:
    world = World()
    world.put_quota("idle", {"pods": "0"}, scopes=["BestEffort"])
    selector = {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}
    world.put_quota("high", {"pods": "0"}, scopeSelector=selector)
    run(world, request("pods", _cpu("1")), PLUGIN)
    assert reason(world, request("pods", pod()), PLUGIN).startswith("exceeded quota: idle")
    attributes = request("pods", _cpu("1", priorityClassName="high"))
    assert reason(world, attributes, PLUGIN).startswith("exceeded quota: high")


def _claim(storage: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "c", "resourceVersion": "1"},
        "spec": {"resources": {"requests": {"storage": storage}}},
    }


def test_growing_a_claim_costs_the_difference() -> None:
    world = World()
    world.put_quota("q", {"requests.storage": "10Gi", "persistentvolumeclaims": "1"})
    key = "persistentvolumeclaims"
    run(world, request(key, _claim("4Gi")), PLUGIN)
    run(world, request(key, _claim("9Gi"), operation="UPDATE", old=_claim("4Gi")), PLUGIN)
    assert world.used("q") == {"requests.storage": "9Gi", "persistentvolumeclaims": "1"}
    attributes = request(key, _claim("12Gi"), operation="UPDATE", old=_claim("9Gi"))
    assert reason(world, attributes, PLUGIN) == (
        "exceeded quota: q, requested: requests.storage=3Gi, used: requests.storage=9Gi, "
        "limited: requests.storage=10Gi"
    )
    run(world, request(key, _claim("1Gi"), operation="UPDATE", old=_claim("9Gi")), PLUGIN)
    assert world.used("q")["requests.storage"] == "9Gi"


def test_a_deadline_moves_a_pod_into_another_quota() -> None:
    world = World()
    world.put_quota("ending", {"pods": "1"}, scopes=["Terminating"])
    world.put_quota("staying", {"pods": "5"}, scopes=["NotTerminating"])
    old = pod(metadata={"resourceVersion": "1"})
    new = copy.deepcopy(old)
    new["spec"]["activeDeadlineSeconds"] = 10
    run(world, request("pods", new, operation="UPDATE", old=old), PLUGIN)
    assert world.used("ending") == {"pods": "1"}
    assert world.used("staying") == {"pods": "0"}
    attributes = request("pods", copy.deepcopy(new), operation="UPDATE", old=old)
    assert reason(world, attributes, PLUGIN).startswith("exceeded quota: ending, requested: pods=1")


def test_a_resize_costs_the_difference() -> None:
    world = World()
    world.put_quota("q", {"requests.cpu": "3"})
    old = _cpu("2", metadata={"resourceVersion": "1"})
    world.update_status(
        "resourcequotas", "team", "q", {"hard": {"requests.cpu": "3"}, "used": {"requests.cpu": "2"}}
    )
    run(world, request("pods", _cpu("3"), operation="UPDATE", old=old, subresource="resize"), PLUGIN)
    assert world.used("q") == {"requests.cpu": "3"}


def test_negative_usage_is_refused() -> None:
    world = World()
    world.put_quota("q", {"requests.cpu": "3"})
    message = reason(world, request("pods", _cpu("-1")), PLUGIN)
    assert message == "quota usage is negative for resource(s): cpu,limits.cpu,requests.cpu"


class QuotaMachine(RuleBasedStateMachine):
    """Pods come, finish and go in any order while the controller recounts now and then."""

    pods = Bundle("pods")

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.world.put_quota("all", {"pods": "4", "requests.cpu": "3", "limits.memory": "2Gi"})
        self.world.put_quota("short", {"pods": "2", "requests.cpu": "2"}, scopes=["Terminating"])
        self.count = 0

    @rule(
        target=pods,
        cpu=st.sampled_from(["250m", "1", "1500m", "3"]),
        memory=st.sampled_from(["128Mi", "1Gi", "3Gi"]),
        deadline=st.booleans(),
        dry_run=st.booleans(),
    )
    def create(self, cpu: str, memory: str, deadline: bool, dry_run: bool) -> str:
        self.count += 1
        name = f"p{self.count}"
        holder = resources({"cpu": cpu, "memory": memory}, {"cpu": cpu, "memory": memory})
        subject = pod(holder, name=name, **({"activeDeadlineSeconds": 9} if deadline else {}))
        try:
            run(self.world, request("pods", subject, dry_run=dry_run), PLUGIN)
        except ApiError as error:
            assert error.message.partition("is forbidden: ")[2].startswith("exceeded quota: ")
            return ""
        if dry_run:
            return ""
        self.world.put("pods", subject)
        return name

    @rule(name=pods, phase=st.sampled_from(["Succeeded", "Failed"]))
    def finish(self, name: str, phase: str) -> None:
        stored = self.world.get("pods", "team", name)
        if stored is not None:
            self.world.put("pods", {**stored, "status": {"phase": phase}})

    @rule(name=consumes(pods))
    def delete(self, name: str) -> None:
        if self.world.get("pods", "team", name) is not None:
            self.world.delete("pods", name)

    @precondition(lambda self: self.count)
    @rule()
    def recount(self) -> None:
        for stored in self.world.list("resourcequotas", "team"):
            used = self._counted(stored)
            status = {"hard": stored["status"]["hard"], "used": quota.print_list(used)}
            self.world.update_status("resourcequotas", "team", stored["metadata"]["name"], status)

    def _counted(self, stored: dict[str, Any]) -> dict[str, Quantity]:
        return quota.calculate(stored, {"pods": self.world.list("pods", "team")}, now=NOW)

    @invariant()
    def never_over_admitted(self) -> None:
        for stored in self.world.list("resourcequotas", "team"):
            hard = quota.parse_list(stored["spec"]["hard"])
            used = quota.parse_list(stored["status"]["used"])
            counted = self._counted(stored)
            for name, limit in hard.items():
                # What is charged covers what is there, and stays within what is allowed.
                assert counted[name] <= used[name] <= limit


TestQuotaMachine = QuotaMachine.TestCase
