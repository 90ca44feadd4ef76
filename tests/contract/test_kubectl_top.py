"""kubectl top: what nodes measure. On a cluster without metrics-server these tests are skipped."""

from __future__ import annotations

import time

import pytest
from kubectl_program import Kubectl
from sample_objects import pod

PATIENCE = 120.0
"""Seconds; a metrics-server looks at its nodes four times a minute."""


@pytest.fixture(autouse=True)
def _metrics(anywhere: Kubectl) -> None:
    if "pods" not in anywhere("api-resources", "--api-group=metrics.k8s.io", "-o", "name", code=None).out:
        pytest.skip("nobody serves metrics.k8s.io")


def declared(name: str) -> dict[str, object]:
    """A pod that uses a quarter of a processor where pods are played."""
    obj = pod(name, app=name)
    obj["metadata"]["annotations"] = {
        "scripted.podbay.dev/cpu": "250m",
        "scripted.podbay.dev/memory": "300Mi",
    }
    return obj


def top(kubectl: Kubectl, *arguments: str) -> list[list[str]]:
    """The rows of a table that is not empty, headings first."""
    end = time.monotonic() + PATIENCE
    while True:
        shown = kubectl("top", *arguments, code=None)
        if shown.code == 0 and len(shown.lines) > 1:
            return shown.rows()
        assert time.monotonic() < end, shown
        time.sleep(0.2)


def test_pods(kubectl: Kubectl, anywhere: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=declared("web"))
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=100s")
    header, row = top(kubectl, "pods")
    assert header == ["NAME", "CPU(cores)", "MEMORY(bytes)"]
    assert row[0] == "web"
    scripted = anywhere("get", "nodes", "-l", "podbay.dev/scripted=true", "-o", "name").out
    if scripted:
        assert row == ["web", "250m", "300Mi"]
    header, row = top(kubectl, "pod", "web", "--containers")
    assert (header, row[:2]) == (["POD", "NAME", "CPU(cores)", "MEMORY(bytes)"], ["web", "main"])
    assert top(kubectl, "pods", "-l", "app=web")[1][0] == "web"
    assert "No resources found" in kubectl("top", "pods", "-l", "app=other").err


def test_nodes(anywhere: Kubectl) -> None:
    header, *rows = top(anywhere, "nodes")
    assert header == ["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"]
    names = anywhere("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}").out.split()
    assert {row[0] for row in rows} <= set(names)


def test_tables(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=declared("web"))
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=100s")
    top(kubectl, "pods")
    header, row = kubectl("get", "pods.metrics.k8s.io", "web").rows()
    assert (header, row[0]) == (["NAME", "CPU", "MEMORY", "WINDOW"], "web")


def test_who_may_view_may_see_use(anywhere: Kubectl, kubectl: Kubectl) -> None:
    kubectl("create", "rolebinding", "seer", "--clusterrole=view", "--user=contract-ann")
    asked = ("auth", "can-i", "list", "pods.metrics.k8s.io", "--as", "contract-ann")
    assert kubectl(*asked).out == "yes\n"
    assert anywhere(*asked, "--all-namespaces", code=1).out == "no\n"
