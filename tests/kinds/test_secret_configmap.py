"""Secrets and ConfigMaps: keys, types, sizes, immutability; values never show in refusals."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from whole_server import Server

from podbay.apiserver.kinds.configmap import CONFIG_MAP
from podbay.apiserver.kinds.secret import SECRET

SECRETS = "/api/v1/namespaces/ns/secrets"
CONFIG_MAPS = "/api/v1/namespaces/ns/configmaps"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def secret(kind: str = "", **data: str) -> dict[str, Any]:
    body: dict[str, Any] = {"metadata": {"name": "s"}, "data": {k: b64(v) for k, v in data.items()}}
    return {**body, "type": kind} if kind else body


def test_text_wins_over_data_and_is_not_kept(server: Server) -> None:
    body = {"metadata": {"name": "s"}, "data": {"a": b64("1"), "b": b64("2")}, "stringData": {"a": "3"}}
    made = server.create(SECRETS, body)
    assert made["data"] == {"a": b64("3"), "b": b64("2")}
    assert "stringData" not in made
    assert made["type"] == "Opaque"
    assert server.row(SECRET, made) == ["s", "Opaque", 2]


@pytest.mark.parametrize(
    ("kind", "data", "causes"),
    [
        ("kubernetes.io/basic-auth", {"username": "u"}, []),
        ("kubernetes.io/ssh-auth", {}, ["data[ssh-privatekey]: Required value"]),
        ("kubernetes.io/ssh-auth", {"ssh-privatekey": ""}, ["data[ssh-privatekey]: Required value"]),
        ("kubernetes.io/dockercfg", {}, ["data[.dockercfg]: Required value"]),
        (
            "kubernetes.io/service-account-token",
            {},
            ["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
        ),
        ("own/type", {}, []),
    ],
)
def test_each_type_requires_its_keys(
    server: Server, kind: str, data: dict[str, str], causes: list[str]
) -> None:
    assert server.refusals("POST", SECRETS, secret(kind, **data)) == causes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"auths": {}}', None),
        ("hunter2", "invalid character 'h' looking for beginning of value"),
        ('{"auths":', "unexpected end of JSON input"),
        ("[]", "json: cannot unmarshal array into Go value of type map[string]interface {}"),
    ],
)
def test_docker_config_must_be_a_json_object(server: Server, content: str, message: str | None) -> None:
    body = {
        "metadata": {"name": "s"},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": b64(content)},
    }
    causes = server.refusals("POST", SECRETS, body)
    path = 'data[.dockerconfigjson]: Invalid value: "<secret contents redacted>"'
    assert causes == ([] if message is None else [f"{path}: {message}"])
    assert "hunter2" not in json.dumps(causes)


def test_a_tls_pair_that_cannot_be_read_is_stored_with_a_warning(server: Server) -> None:
    server.create(SECRETS, secret("kubernetes.io/tls", **{"tls.crt": "x", "tls.key": "y"}))
    assert server.warnings == ["tls: failed to find any PEM data in certificate input"]


def test_bad_keys_and_too_much(server: Server) -> None:
    (cause,) = server.refusals("POST", SECRETS, secret(**{"a b": "x"}))
    assert cause.startswith('data[a b]: Invalid value: "a b": a valid config key must consist of')
    half = "x" * (512 * 1024)
    assert server.refusals("POST", SECRETS, secret(a=half, b=half)) == []
    body = secret(a=half, b=half + "x")
    assert server.refusals("POST", SECRETS, body) == ["data: Too long: may not be more than 1048576 bytes"]


def test_bad_labels_on_an_update_are_reported_as_often_as_really(server: Server) -> None:
    server.create(SECRETS, secret())
    causes = server.refusals("PATCH", f"{SECRETS}/s", {"metadata": {"labels": {"a": "b c"}}})
    assert len(causes) == 4
    assert {c.split(":")[0] for c in causes} == {"metadata.labels"}


def test_selects_by_type(server: Server) -> None:
    server.create(SECRETS, secret("own/type"))
    assert len(server.call("GET", f"{SECRETS}?fieldSelector=type=own/type")[1]) == 1
    assert server.call("GET", f"{SECRETS}?fieldSelector=type!=own/type")[1] == []


def test_config_map_keys_must_not_overlap(server: Server) -> None:
    body = {"metadata": {"name": "c"}, "data": {"a": "1"}, "binaryData": {"a": b64("2"), "..": b64("3")}}
    assert server.refusals("POST", CONFIG_MAPS, body) == [
        'data[a]: Invalid value: "a": duplicate of key present in binaryData',
        "binaryData[..]: Invalid value: \"..\": must not be '..'",
    ]


def test_config_map_size_counts_both_kinds_of_data(server: Server) -> None:
    half = "x" * (512 * 1024)
    body = {"metadata": {"name": "c"}, "data": {"a": half}, "binaryData": {"b": b64(half)}}
    made = server.create(CONFIG_MAPS, body)
    assert server.row(CONFIG_MAP, made) == ["c", 2]
    body = {"metadata": {"name": "d"}, "data": {"a": half + "x"}, "binaryData": {"b": b64(half)}}
    assert server.refusals("POST", CONFIG_MAPS, body) == ["[]: Too long: may not be more than 1048576 bytes"]


def test_immutable_config_maps_keep_their_data(server: Server) -> None:
    server.create(CONFIG_MAPS, {"metadata": {"name": "c"}, "data": {"a": "1"}, "immutable": True})
    words = "Forbidden: field is immutable when `immutable` is set"
    assert server.refusals("PATCH", f"{CONFIG_MAPS}/c", {"data": {"a": "2"}}) == [f"data: {words}"]
    assert server.refusals("PATCH", f"{CONFIG_MAPS}/c", {"binaryData": {"b": b64("1")}}) == [
        f"binaryData: {words}"
    ]
    assert server.refusals("PATCH", f"{CONFIG_MAPS}/c", {"immutable": None}) == [f"immutable: {words}"]
    assert server.refusals("PATCH", f"{CONFIG_MAPS}/c", {"metadata": {"labels": {"a": "b"}}}) == []
