"""Decoding against the recorded answers of a real Kubernetes 1.36."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from podbay.apiserver.schema.decode import Target, decode
from podbay.apiserver.schema.types import Schema
from podbay.errors import ApiError

SCHEMA = Schema.load()
RECORDED = Path(__file__).parent.parent / "fidelity" / "kubernetes-1.36.json"
CASES = {case["id"]: case for case in json.loads(RECORDED.read_text())}
TARGETS = {
    "pods": Target("Pod", "v1", "io.k8s.api.core.v1.Pod"),
    "secrets": Target("Secret", "v1", "io.k8s.api.core.v1.Secret"),
}


def _run(case_id: str) -> Any:
    step = CASES[case_id]["steps"][-1]
    path, _, query = step["path"].partition("?")
    body = step["raw"].encode() if "raw" in step else json.dumps(step["body"]).encode()
    mode = next((m for m in ("Strict", "Ignore") if f"fieldValidation={m}" in query), "Warn")
    media_type = "yaml" if step.get("ctype") == "application/yaml" else "json"
    return decode(
        SCHEMA, TARGETS[path.rsplit("/", 1)[-1]], body, media_type=media_type, field_validation=mode
    )


@pytest.mark.parametrize(
    "case_id",
    [
        "create-containers-map",
        "create-int-as-string",
        "create-kind-wrong",
        "create-api-wrong",
        "create-qty-bad",
        "ctype-yaml",
        "fieldvalidation-Strict",
        "fieldvalidation-dup-strict",
        "json-array",
        "json-empty",
        "secret-badb64",
    ],
)
def test_refused_in_the_recorded_words(case_id: str) -> None:
    recorded = CASES[case_id]["answers"][-1]["body"]
    with pytest.raises(ApiError) as refusal:
        _run(case_id)
    ours = refusal.value.status()
    # The recording sorted the keys of the body it sent, and the errors follow the order of the keys.
    for message in (ours, recorded):
        message["message"] = sorted(message["message"].replace("strict decoding error: ", ", ").split(", "))
    assert ours == recorded


def test_accepted_without_kind() -> None:
    decoded = _run("create-nokind")
    assert (decoded.obj["kind"], decoded.obj["apiVersion"]) == ("Pod", "v1")
    assert decoded.obj["spec"] == {"containers": None}


def test_unknown_fields_warn_or_pass() -> None:
    warned = _run("fieldvalidation-Warn")
    assert sorted(warned.warnings) == [
        'unknown field "spec.bogus"',
        'unknown field "spec.containers[0].imagee"',
    ]
    ignored = _run("fieldvalidation-Ignore")
    assert ignored.warnings == []
    assert ignored.obj == warned.obj
    assert "bogus" not in ignored.obj["spec"]


@pytest.mark.parametrize(
    "case_id", sorted(c for c in CASES if c.startswith(("default-", "qosclass-", "pod-")))
)
def test_bodies_that_a_real_server_took_are_taken(case_id: str) -> None:
    for step in CASES[case_id]["steps"]:
        body = step.get("body")
        if isinstance(body, dict) and body.get("kind") == "Pod":
            decoded = decode(SCHEMA, TARGETS["pods"], json.dumps(body).encode(), field_validation="Strict")
            assert decoded.warnings == []
            assert decode(SCHEMA, TARGETS["pods"], decoded.obj).obj == decoded.obj
