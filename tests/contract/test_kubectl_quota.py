"""Quotas with scopes: which pods they see, what they refuse, how kubectl shows them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from kubectl_program import Kubectl
from sample_objects import Object, pod

PATIENCE = 60.0


def quota(name: str, **spec: Any) -> Object:
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": spec}


def counted(kubectl: Kubectl, name: str) -> None:
    """Wait until the quota's use is known: until then it refuses everything."""
    end = time.monotonic() + PATIENCE
    while "used" not in kubectl("get", "quota", name, "-o", "json").json().get("status", {}):
        assert time.monotonic() < end, f"quota {name} is not counted"
        time.sleep(0.1)


def sized(name: str) -> Object:
    obj = pod(name)
    resources = {"cpu": "10m", "memory": "10Mi"}
    obj["spec"]["containers"][0]["resources"] = {"requests": resources, "limits": resources}
    return obj


def with_deadline(name: str) -> Object:
    obj = pod(name)
    obj["spec"]["activeDeadlineSeconds"] = 1000
    return obj


def across_namespaces(name: str) -> Object:
    obj = pod(name)
    term = {
        "topologyKey": "kubernetes.io/hostname",
        "namespaceSelector": {},
        "labelSelector": {"matchLabels": {"nothing": "has-this"}},
    }
    terms = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    obj["spec"]["affinity"] = {"podAntiAffinity": terms}
    return obj


@pytest.mark.parametrize(
    ("scope", "within", "without"),
    [
        ("Terminating", with_deadline, pod),
        ("NotTerminating", pod, with_deadline),
        ("BestEffort", pod, sized),
        ("NotBestEffort", sized, pod),
        ("CrossNamespacePodAffinity", across_namespaces, pod),
    ],
)
def test_scopes(
    kubectl: Kubectl, scope: str, within: Callable[[str], Object], without: Callable[[str], Object]
) -> None:
    kubectl("create", "-f", "-", stdin=quota("narrow", hard={"pods": "0"}, scopes=[scope]))
    counted(kubectl, "narrow")
    words = "exceeded quota: narrow, requested: pods=1, used: pods=0, limited: pods=0"
    assert words in kubectl.refused("create", "-f", "-", stdin=within("inside"))
    kubectl("create", "-f", "-", stdin=without("outside"))
    assert f"Scopes:     {scope}" in kubectl("describe", "quota", "narrow").out


def test_priority_classes(
    kubectl: Kubectl, anywhere: Kubectl, cluster_scoped: Callable[[str, str], str]
) -> None:
    name = cluster_scoped("priorityclass", "quota")
    anywhere("create", "priorityclass", name, "--value=7", "--description=for a test")
    only = {"scopeName": "PriorityClass", "operator": "In", "values": [name]}
    selector = {"matchExpressions": [only]}
    kubectl("create", "-f", "-", stdin=quota("high", hard={"pods": "1"}, scopeSelector=selector))
    counted(kubectl, "high")

    def high(name_of_pod: str) -> Object:
        obj = pod(name_of_pod)
        obj["spec"]["priorityClassName"] = name
        return obj

    kubectl("create", "-f", "-", stdin=high("first"))
    assert "exceeded quota: high" in kubectl.refused("create", "-f", "-", stdin=high("second"))
    kubectl("create", "-f", "-", stdin=pod("low"))


def test_bad_scopes(kubectl: Kubectl) -> None:
    said = kubectl.refused("create", "-f", "-", stdin=quota("q", hard={"pods": "1"}, scopes=["Idle"]))
    assert 'spec.scopes: Invalid value: ["Idle"]: unsupported scope' in said
    both = ["BestEffort", "NotBestEffort"]
    said = kubectl.refused("create", "-f", "-", stdin=quota("q", hard={"pods": "1"}, scopes=both))
    assert (
        f"spec.scopes: Invalid value: {json.dumps(both, separators=(',', ':'))}: conflicting scopes" in said
    )
