"""application/vnd.kubernetes.protobuf over the wire: objects, lists, watches, errors, and where JSON takes over."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from podbay.apiserver import status
from podbay.apiserver.encode import line_encoder
from podbay.apiserver.request import Request
from podbay.apiserver.schema.decode import normalize
from podbay.apiserver.schema.protobuf import open_envelope, read_message
from podbay.apiserver.schema.protobuf_write import struct_of, write_object
from podbay.apiserver.schema.types import Schema
from podbay.apiserver.storage import Change
from podbay.embedded.access import client_tls
from podbay.testing import Environment

pytestmark = pytest.mark.contract

SCHEMA = Schema.load()
PROTOBUF = "application/vnd.kubernetes.protobuf"
RBAC = "rbac.authorization.k8s.io"
PREFERRED = f"{PROTOBUF},application/json"


class Wire:
    """Raw HTTP with the administrator's certificate."""

    def __init__(self, environment: Environment) -> None:
        config = yaml.safe_load(environment.kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        tls = client_tls(cluster, user)
        assert isinstance(tls, ssl.SSLContext)
        self._address = urlsplit(cluster["server"]).netloc
        self._tls = tls

    def open(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPSConnection(self._address, context=self._tls, timeout=20)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body, headers={"Connection": "close", **sent})
        return connection.getresponse()

    def call(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, str, bytes]:
        with self.open(method, path, body, **headers) as response:
            return response.status, response.headers["Content-Type"], response.read()


@pytest.fixture
def wire(podbay_cluster: Environment) -> Wire:
    return Wire(podbay_cluster)


def parse(data: bytes) -> dict[str, Any]:
    api_version, kind, message = open_envelope(data)
    struct = struct_of(SCHEMA, api_version, kind)
    assert struct is not None
    obj = normalize(SCHEMA, struct.key, read_message(SCHEMA, struct.key, message))
    return {**obj, "apiVersion": api_version, "kind": kind}


def config_map(name: str, **data: str) -> bytes:
    return write_object(
        SCHEMA, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
    )


def frames(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    while head := response.read(4):
        event = response.read(int.from_bytes(head, "big"))
        found = read_message(SCHEMA, "meta/v1.WatchEvent", event)
        # The raw extension holds a body of its own, which JSON cannot show.
        body = event[event.index(b"k8s\x00") :]
        yield {"type": found["type"], "object": parse(body)}


def test_create_get_list_delete(wire: Wire, podbay_namespace: str) -> None:
    path = f"/api/v1/namespaces/{podbay_namespace}/configmaps"
    status, form, body = wire.call(
        "POST", path, config_map("one", a="b"), Accept=PREFERRED, Content_Type=PROTOBUF
    )
    assert (status, form) == (201, PROTOBUF)
    created = parse(body)
    assert created["data"] == {"a": "b"}
    plain = json.loads(wire.call("GET", f"{path}/one", Accept="application/json")[2])
    assert plain == created == parse(wire.call("GET", f"{path}/one", Accept=PREFERRED)[2])

    status, form, body = wire.call("GET", path, Accept=PREFERRED)
    listed, in_json = parse(body), json.loads(wire.call("GET", path)[2])
    assert (status, form, listed["kind"]) == (200, PROTOBUF, "ConfigMapList")
    assert listed["items"] == in_json["items"]
    assert listed["metadata"]["resourceVersion"]

    options = write_object(
        SCHEMA, {"apiVersion": "meta.k8s.io/v1", "kind": "DeleteOptions", "dryRun": ["All"]}
    )
    status, _, body = wire.call("DELETE", f"{path}/one", options, Accept=PREFERRED, Content_Type=PROTOBUF)
    assert (status, parse(body)["status"]) == (200, "Success")
    assert wire.call("GET", f"{path}/one")[0] == 200, "dryRun was not read"


def test_errors_come_as_status(wire: Wire, podbay_namespace: str) -> None:
    path = f"/api/v1/namespaces/{podbay_namespace}/configmaps"
    status, form, body = wire.call("GET", f"{path}/none", Accept=PREFERRED)
    assert (status, form) == (404, PROTOBUF)
    found = parse(body)
    plain = json.loads(wire.call("GET", f"{path}/none")[2])
    assert found == plain
    assert found["message"] == 'configmaps "none" not found'

    status, _, body = wire.call("POST", path, config_map("Bad_Name"), Accept=PROTOBUF, Content_Type=PROTOBUF)
    assert status == 422
    assert [cause["field"] for cause in parse(body)["details"]["causes"]] == ["metadata.name"]


def test_broken_bodies(wire: Wire, podbay_namespace: str) -> None:
    path = f"/api/v1/namespaces/{podbay_namespace}/configmaps"
    good = config_map("cut")
    for end in (0, 3, 4, 9, len(good) // 2, len(good) - 5):
        status, _, body = wire.call(
            "POST", path, good[:end], Accept="application/json", Content_Type=PROTOBUF
        )
        assert (status, json.loads(body)["reason"]) == (400, "BadRequest"), end
    status, _, body = wire.call("POST", path, good, Content_Type="application/json")
    assert (status, json.loads(body)["reason"]) == (400, "BadRequest")


def test_watch_in_frames(wire: Wire, podbay_namespace: str) -> None:
    path = f"/api/v1/namespaces/{podbay_namespace}/configmaps"
    query = "?watch=1&timeoutSeconds=10&allowWatchBookmarks=true&sendInitialEvents=true"
    query += "&resourceVersionMatch=NotOlderThan&fieldSelector=metadata.name%3Dseen"
    with wire.open("GET", path + query, Accept=f"{PROTOBUF};stream=watch,{PREFERRED}") as response:
        assert response.headers["Content-Type"] == f"{PROTOBUF};stream=watch"
        events = frames(response)
        bookmark = next(events)
        assert bookmark["type"] == "BOOKMARK"
        assert bookmark["object"]["kind"] == "ConfigMap"
        assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        wire.call("POST", path, config_map("seen", a="b"), Content_Type=PROTOBUF)
        added = next(events)
        assert (added["type"], added["object"]["data"]) == ("ADDED", {"a": "b"})
        wire.call("DELETE", f"{path}/seen")
        assert next(events)["type"] == "DELETED"


def test_the_error_that_ends_a_watch(podbay_cluster: Environment) -> None:
    embedded = podbay_cluster.embedded
    if embedded is None:
        pytest.skip("a real cluster compacts when it likes")
    core = embedded.server.core
    resource = core.registry.find("", "v1", "configmaps")
    assert resource is not None
    lines = line_encoder(core, Request("GET", "", headers={"accept": PREFERRED}), resource)
    frame = lines.encode(Change.error(status.expired("too old resource version: 1 (9)")))
    event = read_message(SCHEMA, "meta/v1.WatchEvent", frame[4:])
    found = parse(frame[frame.index(b"k8s\x00") :])
    assert (event["type"], found["code"], found["reason"]) == ("ERROR", 410, "Expired")


def test_metadata_only(wire: Wire, podbay_namespace: str) -> None:
    wire.call(
        "POST",
        f"/api/v1/namespaces/{podbay_namespace}/configmaps",
        config_map("one"),
        Content_Type=PROTOBUF,
    )
    path = f"/api/v1/namespaces/{podbay_namespace}/configmaps"
    options = ";g=meta.k8s.io;v=v1"
    listed = parse(wire.call("GET", path, Accept=f"{PROTOBUF};as=PartialObjectMetadataList{options}")[2])
    assert listed["kind"] == "PartialObjectMetadataList"
    assert "one" in [item["metadata"]["name"] for item in listed["items"]]
    single = parse(wire.call("GET", f"{path}/one", Accept=f"{PROTOBUF};as=PartialObjectMetadata{options}")[2])
    assert (single["apiVersion"], single["metadata"]["name"]) == ("meta.k8s.io/v1", "one")
    assert "data" not in single


def test_tables_stay_json(wire: Wire, podbay_namespace: str) -> None:
    path = f"/api/v1/namespaces/{podbay_namespace}/configmaps"
    table = "as=Table;g=meta.k8s.io;v=v1"
    accept = f"{PROTOBUF};{table},application/json;{table},application/json"
    status, form, body = wire.call("GET", path, Accept=accept)
    assert (status, form, json.loads(body)["kind"]) == (200, "application/json", "Table")
    assert wire.call("GET", path, Accept=f"{PROTOBUF};{table}")[0] == 406


@pytest.mark.parametrize("path", ["/api", "/apis", "/api/v1", f"/apis/{RBAC}", f"/apis/{RBAC}/v1"])
def test_discovery(wire: Wire, path: str) -> None:
    status, form, body = wire.call("GET", path, Accept=PREFERRED)
    assert (status, form) == (200, PROTOBUF)
    plain = json.loads(wire.call("GET", path)[2])
    assert parse(body) == {"apiVersion": "", **plain}


def test_every_served_kind_has_the_form(wire: Wire) -> None:
    """A kind whose numbers are missing would silently stay JSON."""
    groups = json.loads(wire.call("GET", "/apis")[2])["groups"]
    for root in ("/api/v1", *(f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups)):
        for resource in json.loads(wire.call("GET", root)[2])["resources"]:
            if "list" in resource["verbs"]:
                path = f"{root}/{resource['name']}"
                status, form, body = wire.call("GET", path, Accept=PREFERRED)
                assert (status, form) == (200, PROTOBUF), path
                plain = json.loads(wire.call("GET", path)[2])
                assert len(parse(body)["items"] or ()) == len(plain["items"]), path
