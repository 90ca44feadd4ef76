"""Answers of a real Kubernetes 1.36 about the small kinds, replayed request by request."""

from __future__ import annotations

from typing import Any

import pytest
from whole_server import NAMESPACE, Server

from podbay.apiserver.kinds import all_resource_types
from podbay.apiserver.tables import column_definitions

CASES = [
    "secret-badb64",
    "secret-type-docker-missing",
    "secret-type-basic",
    "secret-type-tls",
    "secret-big",
    "secret-immutable",
    "secret-type-change",
    "cm-badkey",
    "del-cm",
    "del-finalizer",
    "ns-bad",
    "ns-default-delete",
]
VOLATILE = ("uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "managedFields", "generation")


def masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: "<*>" if k in VOLATILE else masked(v) for k, v in value.items()}
    if isinstance(value, list):
        return [masked(v) for v in value]
    return value.replace("{ns}", NAMESPACE).replace("<ns>", NAMESPACE) if isinstance(value, str) else value


def picked(body: Any, paths: list[str]) -> dict[str, Any]:
    out = {}
    for path in paths:
        value = body
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        out[path] = value
    return out


@pytest.mark.fidelity
@pytest.mark.parametrize("case_id", CASES)
def test_answers_like_a_real_cluster(server: Server, recorded: dict[str, Any], case_id: str) -> None:
    case = recorded[case_id]
    expected = iter(case["answers"])
    for step in case["steps"]:
        path = step["path"].replace("{ns}", NAMESPACE)
        code, body = server.call(step["method"], path, step.get("body"))
        if step.get("silent"):
            assert code < 300, body
            continue
        answer = next(expected)
        body = picked(body, step["pick"]) if "pick" in step else body
        wanted = masked(answer["body"])
        wanted.pop("apiVersion", None)
        got = masked(body)
        got.pop("apiVersion", None)
        assert (code, got) == (answer["status"], wanted)


@pytest.mark.fidelity
@pytest.mark.parametrize(
    ("case_id", "resource"),
    [
        ("table-empty-secrets", "secrets"),
        ("table-empty-serviceaccounts", "serviceaccounts"),
        ("table-empty-persistentvolumeclaims", "persistentvolumeclaims"),
        ("table-ns", "namespaces"),
    ],
)
def test_columns_are_those_of_a_real_cluster(recorded: dict[str, Any], case_id: str, resource: str) -> None:
    (kind,) = [t for t in all_resource_types() if t.key == resource]
    assert column_definitions(kind) == recorded[case_id]["answers"][0]["body"]["columnDefinitions"]
