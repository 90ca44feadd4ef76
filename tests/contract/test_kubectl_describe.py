"""kubectl describe of every kind that the cluster has: it follows references and reads events."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from kubectl_program import Kubectl
from sample_objects import config_map, pod, unschedulable_pod


def fields(text: str) -> dict[str, str]:
    """Top-level `Name:  value` lines."""
    return dict(re.findall(r"^(\w[\w ]*):\s+(\S.*)$", text, re.MULTILINE))


def test_a_running_pod(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=pod("web", app="x"))
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=100s")
    text = kubectl("describe", "pod", "web").out
    shown = fields(text)
    assert shown["Name"] == "web"
    assert shown["Status"] == "Running"
    assert shown["Labels"] == "app=x"
    assert shown["QoS Class"] == "BestEffort"
    assert "kube-api-access-" in text
    assert re.search(r"Normal\s+Scheduled\s", text)


def test_a_pod_that_does_not_fit(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=unschedulable_pod("stuck"))
    kubectl("wait", "--for=condition=PodScheduled=false", "pod/stuck", "--timeout=100s")
    text = kubectl("describe", "pod", "stuck").out
    assert fields(text)["Status"] == "Pending"
    assert re.search(r"Warning\s+FailedScheduling.*\d+/\d+ nodes are available", text)
    assert "didn't match Pod's node affinity/selector" in text


def test_config_maps_and_secrets(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=config_map("app", {"color": "red"}))
    assert "color:\n----\nred\n" in kubectl("describe", "cm", "app").out
    kubectl("create", "secret", "generic", "s", "--from-literal=password=hunter2")
    text = kubectl("describe", "secret", "s").out
    assert "password:  7 bytes" in text
    assert "hunter2" not in text


def test_namespace_shows_quota_and_limits(kubectl: Kubectl, anywhere: Kubectl) -> None:
    kubectl("create", "quota", "small", "--hard=configmaps=9")
    limits = {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "limits"},
        "spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "default": {"cpu": "1"}}]},
    }
    kubectl("create", "-f", "-", stdin=limits)
    kubectl("wait", "--for=jsonpath={.status.hard.configmaps}=9", "quota/small", "--timeout=100s")
    text = anywhere("describe", "namespace", kubectl.namespace).out
    assert re.search(r"configmaps\s+\d\s+9", text)
    assert re.search(r"Container\s+cpu\s+-\s+2\s+1\s+1", text)
    assert re.search(r"Resource\s+Used\s+Hard", kubectl("describe", "quota", "small").out)
    assert re.search(r"Container\s+cpu\s+-\s+2", kubectl("describe", "limitrange", "limits").out)


def test_roles_and_bindings(kubectl: Kubectl) -> None:
    kubectl("create", "role", "reader", "--verb=get", "--resource=pods/log")
    kubectl("create", "rolebinding", "read", "--role=reader", "--user=jane")
    assert re.search(r"pods/log\s+\[\]\s+\[\]\s+\[get\]", kubectl("describe", "role", "reader").out)
    assert re.search(r"User\s+jane", kubectl("describe", "rolebinding", "read").out)


def test_cluster_wide_kinds(anywhere: Kubectl, cluster_scoped: Callable[[str, str], str]) -> None:
    priority = cluster_scoped("priorityclass", "contract")
    anywhere("create", "priorityclass", priority, "--value=5")
    assert fields(anywhere("describe", "priorityclass", priority).out)["Value"] == "5"
    runtime = cluster_scoped("runtimeclass", "contract")
    described = {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": runtime},
        "handler": "runc",
    }
    anywhere("create", "-f", "-", stdin=described)
    assert fields(anywhere("describe", "runtimeclass", runtime).out)["Handler"] == "runc"
    assert "*.*" in anywhere("describe", "clusterrole", "cluster-admin").out
    assert "system:masters" in anywhere("describe", "clusterrolebinding", "cluster-admin").out


def test_a_node(anywhere: Kubectl) -> None:
    node = anywhere("get", "nodes", "-o", "name").lines[0]
    text = anywhere("describe", node).out
    for heading in (
        "Conditions:",
        "Addresses:",
        "Capacity:",
        "Allocatable:",
        "System Info:",
        "Allocated resources:",
    ):
        assert heading in text, heading
    assert re.search(r"Ready\s+True", text)
    assert "HolderIdentity" in text


def test_storage_and_network(kubectl: Kubectl) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "disk"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "podbay-no-such-class",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    kubectl("create", "-f", "-", stdin=claim)
    shown = fields(kubectl("describe", "pvc", "disk").out)
    assert (shown["Status"], shown["StorageClass"]) == ("Pending", "podbay-no-such-class")
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "deny"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    }
    kubectl("create", "-f", "-", stdin=policy)
    assert "Policy Types: Ingress" in kubectl("describe", "networkpolicy", "deny").out
    kubectl("create", "service", "clusterip", "svc", "--tcp=80")
    assert fields(kubectl("describe", "service", "svc").out)["Type"] == "ClusterIP"


def test_leases_and_accounts(kubectl: Kubectl) -> None:
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "leader"},
        "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15},
    }
    kubectl("create", "-f", "-", stdin=lease)
    assert re.search(r"Holder Identity:\s+me", kubectl("describe", "lease", "leader").out)
    assert fields(kubectl("describe", "sa", "default").out)["Name"] == "default"


def test_every_kind_can_be_described(kubectl: Kubectl, anywhere: Kubectl, tmp_path: Path) -> None:
    """Whatever exists in the namespace and cluster-wide: no kind makes describe fail."""
    kubectl("create", "-f", "-", stdin=unschedulable_pod("some"))
    for kind in kubectl("api-resources", "--namespaced=true", "--verbs=list,get", "-o", "name").lines:
        kubectl("describe", kind)
    for kind in anywhere("api-resources", "--namespaced=false", "--verbs=list,get", "-o", "name").lines:
        anywhere("describe", kind)


def test_what_is_not_there(kubectl: Kubectl) -> None:
    assert 'pods "nope" not found' in kubectl.refused("describe", "pod", "nope")


@pytest.mark.parametrize("selector", ["-l=app=x", "pods"])
def test_several_at_once(kubectl: Kubectl, selector: str) -> None:
    kubectl("create", "-f", "-", stdin=[unschedulable_pod("one"), unschedulable_pod("two")])
    kubectl("label", "pods", "--all", "app=x")
    chosen = ["pods", selector] if selector.startswith("-l") else [selector]
    assert re.findall(r"^Name:\s+(\w+)$", kubectl("describe", *chosen).out, re.MULTILINE) == ["one", "two"]
