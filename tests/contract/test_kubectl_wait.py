"""kubectl wait and kubectl events."""

from __future__ import annotations

import json

from kubectl_program import Kubectl
from sample_objects import config_map, finishing_pod, pod, unschedulable_pod


def test_conditions(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=pod("web", app="x"))
    assert (
        kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=100s").out == "pod/web condition met\n"
    )
    kubectl("wait", "--for=condition=PodScheduled=true", "pod", "-l", "app=x", "--timeout=100s")
    said = kubectl.refused("wait", "--for=condition=Ready=false", "pod/web", "--timeout=1s")
    assert said == "error: timed out waiting for the condition on pods/web\n"


def test_json_paths(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=[finishing_pod("good"), finishing_pod("bad", 3)])
    kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/good", "--timeout=100s")
    kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/bad", "--timeout=100s")
    state = "{.status.containerStatuses[0].state.terminated.exitCode}"
    assert kubectl("get", "pod", "bad", "-o", f"jsonpath={state}").out == "3"
    # Without a value any will do.
    kubectl("wait", f"--for=jsonpath={state}", "pod/good", "--timeout=100s")


def test_creation_and_deletion(kubectl: Kubectl) -> None:
    assert "timed out" in kubectl.refused("wait", "--for=create", "cm/later", "--timeout=1s")
    kubectl("create", "-f", "-", stdin=config_map("later"))
    kubectl("wait", "--for=create", "cm/later", "--timeout=100s")
    kubectl("wait", "--for=delete", "cm/never-was", "--timeout=100s")
    assert "timed out" in kubectl.refused("wait", "--for=delete", "cm/later", "--timeout=1s")
    missing = kubectl.refused("wait", "--for=condition=Ready", "pod/nope", "--timeout=1s")
    assert 'pods "nope" not found' in missing


def test_a_condition_set_by_hand(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=unschedulable_pod("web"))
    status = {"status": {"conditions": [{"type": "example.com/Checked", "status": "True"}]}}
    kubectl("patch", "pod", "web", "--subresource=status", "-p", json.dumps(status))
    kubectl("wait", "--for=condition=example.com/Checked", "pod/web", "--timeout=100s")


def test_events(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=pod("web"))
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=100s")
    rows = kubectl("events", "--for", "pod/web", "--no-headers").lines
    assert any(
        "Scheduled" in row and f"Successfully assigned {kubectl.namespace}/web to " in row for row in rows
    )
    assert any("Scheduled" in row for row in kubectl("get", "events").lines)
    selector = "involvedObject.name=web,reason=Scheduled,type=Normal"
    found = kubectl("get", "events", "--field-selector", selector, "-o", "json").json()["items"]
    assert [e["involvedObject"]["name"] for e in found] == ["web"]
    newer = kubectl("get", "events.events.k8s.io", "-o", "json").json()["items"]
    assert any(e["regarding"]["name"] == "web" for e in newer)
    assert kubectl("events", "--types=Warning", "--for", "pod/web").err.startswith("No events found")
