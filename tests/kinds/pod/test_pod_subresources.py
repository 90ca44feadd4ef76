"""Binding and eviction, and how long a deleted pod may take."""

from __future__ import annotations

from typing import Any

BINDING = {
    "apiVersion": "v1",
    "kind": "Binding",
    "metadata": {"name": "p", "annotations": {"a": "b"}},
    "target": {"kind": "Node", "name": "n1"},
}
EVICTION = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}


def post(pods: Any, sub: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    code, answer = pods.server.call("POST", f"{pods.path}/p/{sub}", body)
    return code, answer


def test_binding_places_a_pod_once(pods: Any) -> None:
    pods.create()
    assert post(pods, "binding", BINDING)[0] == 201
    pod = pods.get()
    assert pod["spec"]["nodeName"] == "n1"
    assert pod["metadata"]["annotations"] == {"a": "b"}
    assert [(c["type"], c["status"]) for c in pod["status"]["conditions"]] == [("PodScheduled", "True")]
    code, answer = post(pods, "binding", BINDING)
    assert (code, answer["message"]) == (
        409,
        'Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n1"',
    )


def test_a_gated_pod_is_not_bound(pods: Any) -> None:
    pods.create({"schedulingGates": [{"name": "g"}]})
    code, answer = post(pods, "binding", BINDING)
    assert code == 409
    assert "has non-empty .spec.schedulingGates" in answer["message"]


def test_eviction_asks_the_node_to_end_a_running_pod(pods: Any) -> None:
    pods.create()
    post(pods, "binding", BINDING)
    pods.patch({"status": {"phase": "Running"}}, sub="/status")
    assert post(pods, "eviction?dryRun=All", EVICTION)[0] == 201
    assert "deletionTimestamp" not in pods.get()["metadata"]

    assert post(pods, "eviction", EVICTION)[0] == 201
    pod = pods.get()
    assert pod["metadata"]["deletionGracePeriodSeconds"] == 30
    reasons = {c["type"]: c.get("reason") for c in pod["status"]["conditions"]}
    assert reasons["DisruptionTarget"] == "EvictionByEvictionAPI"


def delete(pods: Any, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
    code, answer = pods.server.call("DELETE", f"{pods.path}/p", options)
    return code, answer


def test_an_unplaced_pod_is_gone_at_once(pods: Any) -> None:
    pods.create()
    assert delete(pods)[0] == 200
    assert pods.server.call("GET", f"{pods.path}/p")[0] == 404


def test_a_finished_pod_is_gone_at_once(pods: Any) -> None:
    pods.create({"nodeName": "n1"})
    pods.patch({"status": {"phase": "Succeeded"}}, sub="/status")
    assert delete(pods)[0] == 200
    assert pods.server.call("GET", f"{pods.path}/p")[0] == 404


def test_a_placed_pod_waits_for_its_grace_period(pods: Any) -> None:
    pods.create({"nodeName": "n1", "terminationGracePeriodSeconds": 7})
    delete(pods)
    assert pods.get()["metadata"]["deletionGracePeriodSeconds"] == 7
    delete(pods, {"gracePeriodSeconds": 3})
    assert pods.get()["metadata"]["deletionGracePeriodSeconds"] == 3
    delete(pods, {"gracePeriodSeconds": 0})
    assert pods.server.call("GET", f"{pods.path}/p")[0] == 404
