"""Which form is served, and the refusals of the router and of the negotiation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from podbay.apiserver.negotiate import (
    JSON,
    YAML,
    Output,
    check_route_accept,
    encode_object,
    input_media_type,
    negotiate_discovery,
    negotiate_output,
    negotiate_watch,
    patch_type,
)
from podbay.errors import ApiError

RECORDED = Path(__file__).parent.parent / "fidelity" / "kubernetes-1.36.json"
ANSWERS = {case["id"]: case["answers"] for case in json.loads(RECORDED.read_text())}
PROTOBUF = Output("protobuf")
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def refusal(call: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    with pytest.raises(ApiError) as caught:
        call(*args, **kwargs)
    return caught.value.status()


def test_recorded_406_of_the_router() -> None:
    ours = refusal(check_route_accept, "application/xml", method="GET", listing=True)
    assert ours == ANSWERS["accept-xml"][0]["body"]


def test_recorded_415_of_a_patch() -> None:
    assert refusal(patch_type, "application/json") == ANSWERS["patch-ctype"][-1]["body"]
    assert refusal(patch_type, "")["code"] == 415


@pytest.mark.parametrize("accept", ["", "*/*", "text/html, application/yaml;q=0.5", TABLE, "a/b,*/*;q=0.1"])
def test_router_lets_pass(accept: str) -> None:
    check_route_accept(accept, method="GET")


def test_router_does_not_know_ranges_of_a_type_but_extra_types() -> None:
    assert refusal(check_route_accept, "application/*", method="GET")["code"] == 406
    check_route_accept("text/plain", method="GET", extra=("text/plain",))
    assert refusal(check_route_accept, "a/b", method="POST", has_body=False)["code"] == 415


@pytest.mark.parametrize(
    ("accept", "output"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/yaml", YAML),
        ("application/json;q=0.1,application/yaml", YAML),
        ("application/vnd.kubernetes.protobuf,application/json", PROTOBUF),
        ("application/json,application/vnd.kubernetes.protobuf", JSON),
        ("application/json;q=0.5,application/vnd.kubernetes.protobuf", PROTOBUF),
        (TABLE.replace("json", "vnd.kubernetes.protobuf") + ",application/json", JSON),
        (
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            Output("protobuf", convert="PartialObjectMetadata", version="v1"),
        ),
        ("application/json;pretty=1", Output("json", pretty=True)),
        (TABLE, Output("json", convert="Table", version="v1")),
        (
            TABLE.replace("=v1", "=v9") + "," + TABLE.replace("=v1", "=v1beta1"),
            Output("json", convert="Table", version="v1beta1"),
        ),
        (
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            Output("json", convert="PartialObjectMetadataList", version="v1"),
        ),
        ("application/json;as=Other;g=meta.k8s.io;v=v1,application/json", JSON),
    ],
)
def test_output(accept: str, output: Output) -> None:
    assert negotiate_output(accept) == output


def test_pretty_for_people() -> None:
    assert negotiate_output("", user_agent="curl/8.0").pretty
    assert negotiate_output("application/json", pretty="true").pretty
    assert not negotiate_output("application/json", pretty="false", user_agent="curl/8.0").pretty
    assert not negotiate_output("application/yaml", pretty="true").pretty


def test_nothing_acceptable() -> None:
    assert refusal(negotiate_output, "application/vnd.kubernetes.protobuf", protobuf=False) == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "only the following media types are accepted: application/json, application/yaml, "
        "application/vnd.kubernetes.protobuf",
        "reason": "NotAcceptable",
        "code": 406,
    }


def test_watch() -> None:
    assert negotiate_watch("application/json;stream=watch") == JSON
    assert negotiate_watch(TABLE).convert == "Table"
    assert negotiate_watch("application/vnd.kubernetes.protobuf;stream=watch,application/json") == PROTOBUF
    assert negotiate_watch("application/vnd.kubernetes.protobuf,application/json", protobuf=False) == JSON
    assert negotiate_watch(TABLE.replace("json", "vnd.kubernetes.protobuf") + "," + TABLE).convert == "Table"
    message = refusal(negotiate_watch, "application/yaml")["message"]
    assert message.endswith("application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch")


def test_discovery() -> None:
    asked = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    assert negotiate_discovery(asked) == Output("json", convert="APIGroupDiscoveryList", version="v2")
    packed = asked.replace("json;g", "vnd.kubernetes.protobuf;g")
    assert negotiate_discovery(packed) == JSON
    assert negotiate_discovery("application/vnd.kubernetes.protobuf,application/json") == PROTOBUF
    assert negotiate_discovery("application/json;g=x;v=v2;as=APIGroupDiscoveryList,application/json") == JSON


@pytest.mark.parametrize(
    ("header", "media_type"),
    [
        ("", "json"),
        ("application/json", "json"),
        ("Application/JSON; charset=utf-8", "json"),
        ("application/yaml", "yaml"),
        ("application/vnd.kubernetes.protobuf", "protobuf"),
    ],
)
def test_bodies(header: str, media_type: str) -> None:
    assert input_media_type(header) == media_type


@pytest.mark.parametrize(
    "header", ["text/plain", "application", "application/json; charset", "a/b, application/json"]
)
def test_bodies_of_unknown_form(header: str) -> None:
    answer = refusal(input_media_type, header)
    assert (answer["code"], answer["reason"]) == (415, "UnsupportedMediaType")
    assert answer["message"] == (
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    )


def test_patches() -> None:
    assert patch_type("application/strategic-merge-patch+json; charset=UTF-8") == "strategic"
    assert patch_type("application/apply-patch+yaml") == "apply"


def test_yaml_is_printed_as_go_prints_it() -> None:
    obj = {
        "b": [
            {"word": "yes", "number": "012", "when": "2024-01-01T00:00:00Z", "text": "a\nb\n", "empty": {}}
        ],
        "a": {"colon": "a: b", "blank": "", "null": None, "float": "1.5", "on": True, "list": []},
    }
    assert encode_object(obj, YAML).decode() == (
        'a:\n  blank: ""\n  colon: \'a: b\'\n  float: "1.5"\n  list: []\n  "null": null\n  "on": true\n'
        'b:\n- empty: {}\n  number: "012"\n  text: |\n    a\n    b\n  when: "2024-01-01T00:00:00Z"\n  word: "yes"\n'
    )


def test_json_is_one_line_or_indented() -> None:
    assert encode_object({"a": 1}) == b'{"a":1}\n'
    assert encode_object({"a": 1}, Output("json", pretty=True)) == b'{\n  "a": 1\n}'
