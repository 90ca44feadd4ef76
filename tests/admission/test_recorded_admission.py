"""What a real Kubernetes 1.36 said where admission decides."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from admission_builders import NAMESPACE, World, recorded_case, refusal, request, run

from podbay.objects.meta import Object


def _pod_as_defaulted(body: Object) -> Object:
    """Limits stand in for requests that are not given, which the pod's own defaults do before admission."""
    pod = copy.deepcopy(body)
    for container in pod["spec"]["containers"]:
        resources = container.get("resources", {})
        if "limits" in resources:
            resources["requests"] = {**resources["limits"], **resources.get("requests", {})}
    return pod


def _as_recorded(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {key: _as_recorded(value) for key, value in answer.items()}
    if isinstance(answer, list):
        return [_as_recorded(value) for value in answer]
    return answer.replace("<ns>", NAMESPACE) if isinstance(answer, str) else answer


def _check(world: World, attributes: Any, answer: dict[str, Any]) -> None:
    error = refusal(world, attributes)
    assert {**error.status(), "apiVersion": "v1"} == _as_recorded(answer["body"])
    assert error.code == answer["status"]


@pytest.mark.parametrize(
    "case_id", ["create-sa-missing", "create-priority-missing", "create-runtimeclass-missing"]
)
def test_refuses_what_is_missing(case_id: str) -> None:
    case = recorded_case(case_id)
    attributes = request("pods", _pod_as_defaulted(case["steps"][0]["body"]), dry_run=True)
    _check(World(), attributes, case["answers"][0])


def test_limit_range_is_defaulted_and_enforced() -> None:
    case = recorded_case("lr-ratio")
    world = World()
    stored = world.put("limitranges", case["steps"][0]["body"])
    assert stored["spec"] == case["answers"][0]["body"]["spec"]
    attributes = request("pods", _pod_as_defaulted(case["steps"][1]["body"]), dry_run=True)
    _check(world, attributes, case["answers"][1])


@pytest.mark.parametrize("case_id", ["rq-missing", "rq-exceed"])
def test_quota_refuses(case_id: str) -> None:
    case = recorded_case(case_id)
    world = World()
    quota, answer = case["steps"][0]["body"], case["answers"][0]["body"]
    world.put("resourcequotas", {**quota, "status": answer["status"]})
    attributes = request("pods", _pod_as_defaulted(case["steps"][2]["body"]))
    _check(world, attributes, case["answers"][1])


def test_quota_counts_what_it_admits() -> None:
    case = recorded_case("rq-count")
    world = World()
    world.put("resourcequotas", {**case["steps"][0]["body"], "status": case["answers"][0]["body"]["status"]})
    run(world, request("pods", _pod_as_defaulted(case["steps"][2]["body"])))
    _check(world, request("pods", _pod_as_defaulted(case["steps"][3]["body"])), case["answers"][1])
    assert world.used("rq") == case["answers"][2]["body"]["status.used"]


def test_protected_namespace() -> None:
    case = recorded_case("ns-default-delete")
    attributes = request("namespaces", operation="DELETE", name="default", namespace="default")
    _check(World(), attributes, case["answers"][0])


def test_terminating_namespace() -> None:
    case = recorded_case("ns-terminating")
    world = World()
    world.put("namespaces", {"metadata": {"name": NAMESPACE}, "status": {"phase": "Terminating"}})
    _check(world, request("pods", copy.deepcopy(case["steps"][3]["body"])), case["answers"][1])


def test_a_minimal_pod_gets_what_the_server_adds() -> None:
    case = recorded_case("default-minimal")
    admitted = run(World(), request("pods", copy.deepcopy(case["steps"][0]["body"]))).obj
    assert admitted is not None
    answer = case["answers"][0]["body"]["spec"]
    spec = admitted["spec"]
    for field in ("priority", "preemptionPolicy", "serviceAccount", "serviceAccountName", "tolerations"):
        assert spec[field] == answer[field]
    [mount] = spec["containers"][0]["volumeMounts"]
    assert mount == {**answer["containers"][0]["volumeMounts"][0], "name": "kube-api-access-abcde"}
    [volume] = spec["volumes"]
    recorded = answer["volumes"][0]["projected"]
    # The recorded distribution adds a fourth source of its own.
    assert volume["projected"]["sources"] == recorded["sources"][:3]
    assert volume["projected"]["defaultMode"] == recorded["defaultMode"]
    assert volume["name"] == "kube-api-access-abcde"
