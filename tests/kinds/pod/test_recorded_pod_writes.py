"""Answers of a real Kubernetes 1.36 about pods, replayed request by request.

Only what needs no scheduler and no node: creation, defaults, patches, status updates, columns.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from podbay.apiserver.kinds.pod import POD
from podbay.apiserver.tables import column_definitions

NAMESPACE = "ns"
CASES = re.compile("^(create-|default-full|qos-|patch-|sched-gate|sched-fit-later|pod-delete-pending)")
SKIPPED = {
    "create-sa-missing": "belongs to admission",
    "create-priority-missing": "belongs to admission",
    "create-runtimeclass-missing": "belongs to admission",
    "patch-ctype": "belongs to content negotiation",
    "pod-delete-pending": "its first step waits for a scheduler",
}
VOLATILE = (
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "lastTransitionTime",
    "lastProbeTime",
    "managedFields",
    "generation",
)


def masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: "<*>" if k in VOLATILE else masked(v) for k, v in value.items()}
    if isinstance(value, list):
        return [masked(v) for v in value]
    if not isinstance(value, str):
        return value
    text = value.replace("{ns}", NAMESPACE).replace("<ns>", NAMESPACE)
    return re.sub(r"\b10\.\d+\.\d+\.\d+\b", "<ip>", text)


def in_any_order(value: Any) -> Any:
    """Causes and the sentence made of them come in the order of Go's maps, which is none."""
    if isinstance(value, dict) and (value.get("details") or {}).get("causes"):
        causes = sorted(value["details"]["causes"], key=str)
        message = sorted(re.split(r"[,\[\]] ?|: ", value["message"]))
        return {**value, "message": message, "details": {**value["details"], "causes": causes}}
    return value


def picked(body: Any, paths: list[str]) -> dict[str, Any]:
    out = {}
    for path in paths:
        value = body
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        out[path] = value
    return out


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case_id" not in metafunc.fixturenames:
        return
    import json
    from pathlib import Path

    path = Path(__file__).parents[2] / "fidelity" / "kubernetes-1.36.json"
    ids = [case["id"] for case in json.loads(path.read_bytes())]
    metafunc.parametrize("case_id", [i for i in ids if CASES.match(i) and i not in SKIPPED])


@pytest.mark.fidelity
def test_answers_like_a_real_cluster(pods: Any, recorded: dict[str, Any], case_id: str) -> None:
    case = recorded[case_id]
    expected = iter(case["answers"])
    for step in case["steps"]:
        if "sleep" in step:
            continue
        if "accept" in step:
            next(expected)
            continue
        kind = step.get("ctype", "application/merge-patch+json").removeprefix("application/")
        path = step["path"].replace("{ns}", NAMESPACE)
        code, body = pods.server.call(
            step["method"], path, step.get("body"), patch=kind.removesuffix("-patch+json")
        )
        if step.get("silent"):
            assert code < 300, body
            continue
        answer = next(expected)
        body = picked(body, step["pick"]) if "pick" in step else body
        assert code == answer["status"]
        assert in_any_order(masked(body)) == in_any_order(masked(answer["body"]))


@pytest.mark.fidelity
def test_a_status_may_be_written_by_hand(pods: Any, recorded: dict[str, Any]) -> None:
    case = recorded["pod-status-patch"]
    create, *patches = case["steps"]
    pods.server.create(create["path"].replace("{ns}", NAMESPACE), create["body"])
    for step, answer in zip(patches, case["answers"], strict=True):
        path = step["path"].replace("{ns}", NAMESPACE)
        code, body = pods.server.call("PATCH", path, step["body"])
        assert code == answer["status"]
        if "pick" in step:
            assert picked(body, step["pick"]) == answer["body"]


@pytest.mark.fidelity
def test_columns_are_those_of_a_real_cluster(recorded: dict[str, Any]) -> None:
    assert column_definitions(POD) == recorded["table-empty-pods"]["answers"][0]["body"]["columnDefinitions"]
