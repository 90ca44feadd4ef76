"""What objects cost, and which quotas look at them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from podbay.apiserver import quota

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    listed = [{"name": f"c{index}", **container} for index, container in enumerate(containers or ({},))]
    return {"metadata": {"name": "p"}, "spec": {"containers": listed, **spec}, "status": {}}


def _resources(requests: dict[str, str], limits: dict[str, str] | None = None) -> dict[str, Any]:
    return {"resources": {"requests": requests, "limits": limits or {}}}


def _usage(key: str, obj: dict[str, Any]) -> dict[str, str]:
    return quota.print_list(quota.usage_of(key, obj, now=NOW))


def test_a_pod_costs_the_sum_of_its_containers() -> None:
    pod = _pod(
        _resources({"cpu": "1", "memory": "1Gi"}, {"cpu": "2"}),
        _resources({"cpu": "500m", "ephemeral-storage": "1Gi", "example.com/gpu": "3"}, {"memory": "2Gi"}),
    )
    assert _usage("pods", pod) == {
        "count/pods": "1",
        "pods": "1",
        "cpu": "1500m",
        "requests.cpu": "1500m",
        "limits.cpu": "2",
        "memory": "1Gi",
        "requests.memory": "1Gi",
        "limits.memory": "2Gi",
        "ephemeral-storage": "1Gi",
        "requests.ephemeral-storage": "1Gi",
        "requests.example.com/gpu": "3",
    }


@pytest.mark.parametrize(
    ("spec", "cpu"),
    [
        ({"initContainers": [_resources({"cpu": "3"}), _resources({"cpu": "2"})]}, "3"),
        ({"initContainers": [_resources({"cpu": "500m"})]}, "1"),
        ({"initContainers": [{"restartPolicy": "Always", **_resources({"cpu": "2"})}]}, "3"),
        (
            {
                "initContainers": [
                    {"restartPolicy": "Always", **_resources({"cpu": "2"})},
                    _resources({"cpu": "5"}),
                ]
            },
            "7",
        ),
        ({"overhead": {"cpu": "250m"}}, "1250m"),
        ({"resources": {"requests": {"cpu": "9"}}}, "9"),
        ({"resources": {"requests": {"cpu": "9"}}, "overhead": {"cpu": "1"}}, "10"),
    ],
)
def test_what_runs_at_once_counts(spec: dict[str, Any], cpu: str) -> None:
    assert _usage("pods", _pod(_resources({"cpu": "1"}), **spec))["requests.cpu"] == cpu


def test_overhead_adds_to_limits_that_are_set() -> None:
    pod = _pod(_resources({}, {"cpu": "1"}), overhead={"cpu": "100m", "memory": "1Mi"})
    usage = _usage("pods", pod)
    assert usage["limits.cpu"] == "1100m"
    assert "limits.memory" not in usage


@pytest.mark.parametrize(
    ("metadata", "status", "charged"),
    [
        ({}, {"phase": "Running"}, True),
        ({}, {"phase": "Succeeded"}, False),
        ({}, {"phase": "Failed"}, False),
        ({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0}, {}, True),
        ({"deletionTimestamp": "2025-12-31T23:59:00Z", "deletionGracePeriodSeconds": 30}, {}, False),
        ({"deletionTimestamp": "2025-12-31T23:59:45Z", "deletionGracePeriodSeconds": 30}, {}, True),
    ],
)
def test_only_living_pods_are_charged(
    metadata: dict[str, Any], status: dict[str, str], charged: bool
) -> None:
    pod = {**_pod(_resources({"cpu": "1"})), "metadata": metadata, "status": status}
    usage = _usage("pods", pod)
    assert usage["count/pods"] == "1"
    assert ("pods" in usage) is charged
    assert ("requests.cpu" in usage) is charged


def test_claims() -> None:
    claim = {
        "spec": {"resources": {"requests": {"storage": "1500m"}}, "storageClassName": "gold"},
        "status": {"allocatedResources": {"storage": "7"}},
    }
    assert _usage("persistentvolumeclaims", claim) == {
        "count/persistentvolumeclaims": "1",
        "persistentvolumeclaims": "1",
        "requests.storage": "7",
        "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
        "gold.storageclass.storage.k8s.io/requests.storage": "7",
    }
    rounded = {"spec": {"resources": {"requests": {"storage": "1500m"}}}}
    assert _usage("persistentvolumeclaims", rounded)["requests.storage"] == "2"


@pytest.mark.parametrize(
    ("spec", "node_ports", "balancers"),
    [
        ({"ports": [{}, {}]}, "0", "0"),
        ({"type": "NodePort", "ports": [{}, {}]}, "2", "0"),
        ({"type": "LoadBalancer", "ports": [{}, {}]}, "2", "1"),
        (
            {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False, "ports": [{"nodePort": 1}, {}]},
            "1",
            "1",
        ),
    ],
)
def test_services(spec: dict[str, Any], node_ports: str, balancers: str) -> None:
    assert _usage("services", {"spec": spec}) == {
        "count/services": "1",
        "services": "1",
        "services.nodeports": node_ports,
        "services.loadbalancers": balancers,
    }


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("secrets", {"count/secrets": "1", "secrets": "1"}),
        ("roles.rbac.authorization.k8s.io", {"count/roles.rbac.authorization.k8s.io": "1"}),
        ("serviceaccounts", {"count/serviceaccounts": "1"}),
    ],
)
def test_everything_else_is_counted(key: str, expected: dict[str, str]) -> None:
    assert _usage(key, {}) == expected


@pytest.mark.parametrize(
    ("key", "names", "matching"),
    [
        (
            "pods",
            [
                "secrets",
                "pods",
                "requests.example.com/gpu",
                "hugepages-2Mi",
                "requests.storage",
                "count/pods",
            ],
            ["count/pods", "hugepages-2Mi", "pods", "requests.example.com/gpu"],
        ),
        (
            "persistentvolumeclaims",
            ["requests.storage", "x.storageclass.storage.k8s.io/requests.storage", "requests.cpu"],
            ["requests.storage", "x.storageclass.storage.k8s.io/requests.storage"],
        ),
        ("configmaps", ["configmaps", "count/configmaps", "pods"], ["configmaps", "count/configmaps"]),
    ],
)
def test_matching_resources(key: str, names: list[str], matching: list[str]) -> None:
    assert quota.matching_resources(key, names) == matching


BEST_EFFORT = _pod()
BURSTABLE = _pod(_resources({"cpu": "1"}))
DEADLINE = _pod(activeDeadlineSeconds=5)
URGENT = _pod(priorityClassName="urgent")
ACROSS = _pod(
    affinity={
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "podAffinityTerm": {"topologyKey": "k", "namespaceSelector": {}}}
            ]
        }
    }
)


@pytest.mark.parametrize(
    ("scope", "within", "without"),
    [
        ("BestEffort", BEST_EFFORT, BURSTABLE),
        ("NotBestEffort", BURSTABLE, BEST_EFFORT),
        ("Terminating", DEADLINE, BURSTABLE),
        ("NotTerminating", BURSTABLE, DEADLINE),
        ("PriorityClass", URGENT, BURSTABLE),
        ("CrossNamespacePodAffinity", ACROSS, BURSTABLE),
    ],
)
def test_scopes(scope: str, within: dict[str, Any], without: dict[str, Any]) -> None:
    scoped = {"spec": {"scopes": [scope]}}
    assert quota.matches_scopes(scoped, within, key="pods")
    assert not quota.matches_scopes(scoped, without, key="pods")


@pytest.mark.parametrize(
    ("operator", "values", "matched"),
    [
        ("In", ["urgent", "x"], ["urgent"]),
        ("NotIn", ["urgent"], ["calm", ""]),
        ("Exists", None, ["urgent", "calm"]),
        ("DoesNotExist", None, [""]),
    ],
)
def test_scope_selectors(operator: str, values: list[str] | None, matched: list[str]) -> None:
    requirement = {"scopeName": "PriorityClass", "operator": operator, "values": values}
    scoped = {"spec": {"scopeSelector": {"matchExpressions": [requirement]}}}
    names = ["urgent", "calm", ""]
    pods = {name: _pod(**({"priorityClassName": name} if name else {})) for name in names}
    assert [n for n in names if quota.matches_scopes(scoped, pods[n], key="pods")] == matched


def test_all_scopes_must_hold_and_other_kinds_have_none() -> None:
    scoped = {"spec": {"scopes": ["BestEffort", "Terminating"]}}
    assert quota.matches_scopes(scoped, DEADLINE, key="pods")
    assert not quota.matches_scopes(scoped, BEST_EFFORT, key="pods")
    assert not quota.matches_scopes(scoped, {}, key="secrets")
    assert quota.matches_scopes({"spec": {}}, {}, key="secrets")


def test_claims_belong_to_their_old_and_new_attributes_class() -> None:
    def scoped(name: str) -> dict[str, Any]:
        requirement = {"scopeName": "VolumeAttributesClass", "operator": "In", "values": [name]}
        return {"spec": {"scopeSelector": {"matchExpressions": [requirement]}}}

    claim = {
        "spec": {"volumeAttributesClassName": "new"},
        "status": {"currentVolumeAttributesClassName": "old"},
    }
    matches = [
        quota.matches_scopes(scoped(n), claim, key="persistentvolumeclaims") for n in ("new", "old", "x")
    ]
    assert matches == [True, True, False]


def test_calculate_counts_what_is_in_scope_and_measurable() -> None:
    hard = [
        "pods",
        "requests.cpu",
        "secrets",
        "count/roles.rbac.authorization.k8s.io",
        "count/deployments.apps",
    ]
    counted = quota.calculate(
        {"spec": {"hard": dict.fromkeys(hard, "10")}},
        {
            "pods": [BURSTABLE, BURSTABLE, BEST_EFFORT, {**BURSTABLE, "status": {"phase": "Failed"}}],
            "roles.rbac.authorization.k8s.io": [{}, {}],
        },
        now=NOW,
    )
    assert quota.print_list(counted) == {
        "pods": "3",
        "requests.cpu": "2",
        "secrets": "0",
        "count/roles.rbac.authorization.k8s.io": "2",
    }


def test_calculate_heeds_scopes() -> None:
    scoped = {"spec": {"hard": {"pods": "10", "requests.cpu": "4"}, "scopes": ["NotBestEffort"]}}
    counted = quota.calculate(scoped, {"pods": [BURSTABLE, BEST_EFFORT]}, now=NOW)
    assert quota.print_list(counted) == {"pods": "1", "requests.cpu": "1"}


def test_what_must_be_specified() -> None:
    pod = _pod(_resources({"cpu": "1"}), {}, initContainers=[{"name": "a"}])
    required = ["pods", "requests.cpu", "limits.memory", "requests.ephemeral-storage"]
    assert quota.constraint_violation("pods", pod, required=required) == (
        "must specify limits.memory for: a,c0,c1; requests.cpu for: a,c1"
    )
    pod["spec"]["resources"] = {"requests": {"cpu": "1"}}
    assert quota.constraint_violation("pods", pod, required=required) == ""
