"""kubectl delete: grace, propagation, finalizers, selectors, waiting."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from kubectl_program import Kubectl
from patience import PATIENCE
from sample_objects import Object, config_map, pod, unschedulable_pod


def exists(kubectl: Kubectl, what: str) -> bool:
    return kubectl("get", what, "--ignore-not-found", "-o", "name").out != ""


def owned(kubectl: Kubectl, name: str, owner: str, *, blocking: bool = False) -> Object:
    uid = kubectl("get", "cm", owner, "-o", "jsonpath={.metadata.uid}").out
    obj = config_map(name)
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": uid}
    obj["metadata"]["ownerReferences"] = [{**reference, "blockOwnerDeletion": blocking}]
    return obj


def test_by_name_file_and_selector(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=[config_map(n, {}, set="x") for n in ("a", "b", "c", "d")])
    out = kubectl("delete", "cm", "a", "nope", code=1)
    assert out.out == f'configmap "a" deleted from {kubectl.namespace} namespace\n'
    assert 'configmaps "nope" not found' in out.err
    kubectl("delete", "-f", "-", stdin=config_map("b"))
    assert kubectl("delete", "cm", "-l", "set=x").out.count("deleted") == 2
    assert kubectl("delete", "cm", "a", "--ignore-not-found").out == ""
    assert kubectl("delete", "cm", "-l", "set=x").out == "No resources found\n"


def test_all_of_a_namespace(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=[unschedulable_pod("one"), unschedulable_pod("two")])
    assert kubectl("delete", "pods", "--all").out.count("deleted") == 2
    assert kubectl("get", "pods", "-o", "name").out == ""


def test_dry_runs_delete_nothing(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=config_map("kept"))
    assert "(server dry run)" in kubectl("delete", "cm", "kept", "--dry-run=server").out
    assert "(dry run)" in kubectl("delete", "cm", "kept", "--dry-run=client").out
    assert exists(kubectl, "cm/kept")


def test_a_pod_ends_gracefully(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=pod("web"))
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=100s")
    kubectl("delete", "pod", "web", "--wait=false")
    kubectl("wait", "--for=delete", "pod/web", "--timeout=100s")
    assert not exists(kubectl, "pod/web")


@pytest.mark.parametrize("how", [["--now"], ["--grace-period=1"], ["--grace-period=0", "--force"]])
def test_grace_periods(kubectl: Kubectl, how: list[str]) -> None:
    kubectl("create", "-f", "-", stdin=pod("web"))
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=100s")
    kubectl("delete", "pod", "web", *how)
    assert not exists(kubectl, "pod/web")


def test_unscheduled_pods_go_at_once(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=unschedulable_pod("stuck"))
    kubectl("delete", "pod", "stuck", "--wait=false", "--grace-period=600")
    assert not exists(kubectl, "pod/stuck")


def test_finalizers_hold_an_object(kubectl: Kubectl) -> None:
    held = config_map("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    kubectl("create", "-f", "-", stdin=held)
    assert "timed out waiting" in kubectl.refused("delete", "cm", "held", "--timeout=1s")
    assert kubectl("get", "cm", "held", "-o", "jsonpath={.metadata.deletionTimestamp}").out
    kubectl("patch", "cm", "held", "--type=json", "-p", '[{"op":"remove","path":"/metadata/finalizers"}]')
    assert not exists(kubectl, "cm/held")


def test_background_takes_dependents_along(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=config_map("owner"))
    kubectl("create", "-f", "-", stdin=owned(kubectl, "child", "owner"))
    kubectl("delete", "cm", "owner", "--cascade=background")
    kubectl("wait", "--for=delete", "cm/child", "--timeout=100s")


def test_foreground_waits_for_dependents(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=config_map("owner"))
    child = owned(kubectl, "child", "owner", blocking=True)
    child["metadata"]["finalizers"] = ["example.com/hold"]
    kubectl("create", "-f", "-", stdin=child)
    kubectl("delete", "cm", "owner", "--cascade=foreground", "--wait=false")
    kubectl("wait", "--for=jsonpath={.metadata.deletionTimestamp}", "cm/child", "--timeout=100s")
    finalizers = kubectl("get", "cm", "owner", "-o", "jsonpath={.metadata.finalizers}").out
    assert finalizers == '["foregroundDeletion"]'
    kubectl("patch", "cm", "child", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    kubectl("wait", "--for=delete", "cm/owner", "--timeout=100s")


def test_orphans_stay(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=config_map("owner"))
    kubectl("create", "-f", "-", stdin=owned(kubectl, "child", "owner"))
    kubectl("delete", "cm", "owner", "--cascade=orphan")
    deadline = time.monotonic() + PATIENCE
    while kubectl("get", "cm", "child", "-o", "jsonpath={.metadata.ownerReferences}").out:
        assert time.monotonic() < deadline
    assert not exists(kubectl, "cm/owner")


def test_a_namespace_empties_itself(anywhere: Kubectl, cluster_scoped: Callable[[str, str], str]) -> None:
    name = cluster_scoped("namespace", "contract-gone")
    anywhere("create", "namespace", name)
    inside = anywhere.within(name)
    inside("create", "-f", "-", stdin=[config_map("a"), unschedulable_pod("b")])
    anywhere("delete", "namespace", name, "--wait=false")
    assert anywhere("get", "ns", name, "-o", "jsonpath={.status.phase}").out in ("Terminating", "")
    said = inside.refused("create", "cm", "late")
    assert "because it is being terminated" in said or "not found" in said
    anywhere("wait", "--for=delete", f"ns/{name}", "--timeout=100s")
    assert 'namespaces "' in inside.refused("create", "cm", "late")


def test_protected_namespaces(anywhere: Kubectl) -> None:
    assert "this namespace may not be deleted" in anywhere.refused("delete", "namespace", "kube-system")
