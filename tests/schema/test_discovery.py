"""Discovery documents, plain and aggregated."""

from __future__ import annotations

from typing import Any

import orjson
from registry_sample import sample_registry

from podbay.apiserver import discovery
from podbay.apiserver.request import Request
from podbay.apiserver.result import PlainResult

REGISTRY = sample_registry()
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def get(path: str, **headers: str) -> PlainResult | None:
    request = Request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    return discovery.document(REGISTRY, path, request)


def body(path: str, **headers: str) -> Any:
    answer = get(path, **headers)
    assert answer is not None
    return orjson.loads(answer.body)


def test_api_versions() -> None:
    assert body("/api", host="127.0.0.1:6443") == {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1:6443"}],
    }


def test_groups_by_importance() -> None:
    groups = body("/apis")["groups"]
    assert [g["name"] for g in groups] == ["authorization.k8s.io", "rbac.authorization.k8s.io"]
    one = body("/apis/rbac.authorization.k8s.io")
    assert one == {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": "rbac.authorization.k8s.io",
        "versions": [{"groupVersion": "rbac.authorization.k8s.io/v1", "version": "v1"}],
        "preferredVersion": {"groupVersion": "rbac.authorization.k8s.io/v1", "version": "v1"},
    }


def test_resources_of_the_core_group() -> None:
    listed = body("/api/v1")
    assert (listed["kind"], listed["groupVersion"], "apiVersion" in listed) == (
        "APIResourceList",
        "v1",
        False,
    )
    names = [r["name"] for r in listed["resources"]]
    assert names == ["namespaces", "pods", "pods/eviction", "pods/exec", "pods/log", "pods/status"]
    by_name = {r["name"]: r for r in listed["resources"]}
    assert by_name["pods"] == {
        "name": "pods",
        "singularName": "pod",
        "namespaced": True,
        "kind": "Pod",
        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        "shortNames": ["po"],
        "categories": ["all"],
        "storageVersionHash": "xPOwRZ+Yhw8=",
    }
    assert by_name["pods/eviction"] == {
        "name": "pods/eviction",
        "singularName": "",
        "namespaced": True,
        "group": "policy",
        "version": "v1",
        "kind": "Eviction",
        "verbs": ["create"],
    }


def test_other_groups_carry_their_version() -> None:
    assert body("/apis/authorization.k8s.io/v1")["apiVersion"] == "v1"


def test_nothing_there() -> None:
    for path in ("/api/v2", "/apis/nope", "/apis/nope/v1", "/nope", "/api/v1/pods/x"):
        assert get(path) is None


def test_aggregated_with_etag() -> None:
    answer = get("/api", accept=AGGREGATED + ",application/json")
    assert answer is not None
    assert answer.content_type == AGGREGATED
    listed = orjson.loads(answer.body)
    version = listed["items"][0]["versions"][0]
    assert (listed["kind"], version["version"], version["freshness"]) == (
        "APIGroupDiscoveryList",
        "v1",
        "Current",
    )
    pod = next(r for r in version["resources"] if r["resource"] == "pods")
    assert (pod["scope"], pod["singularResource"], pod["shortNames"]) == ("Namespaced", "pod", ["po"])
    eviction = pod["subresources"][0]
    assert eviction["responseKind"] == {"group": "policy", "version": "v1", "kind": "Eviction"}
    again = get("/api", accept=AGGREGATED, if_none_match=answer.headers["ETag"])
    assert again is not None
    assert (again.status, again.body) == (304, b"")
    assert [g["metadata"]["name"] for g in body("/apis", accept=AGGREGATED)["items"]] == [
        "authorization.k8s.io",
        "rbac.authorization.k8s.io",
    ]


def test_version_and_root() -> None:
    told = discovery.version()
    assert (told["major"], told["minor"]) == ("1", "36")
    assert told["gitVersion"].startswith("v1.36.")
    assert told["platform"].startswith("linux/")
    paths = discovery.root_paths(REGISTRY)
    assert paths == sorted(paths)
    assert {"/api/v1", "/apis/rbac.authorization.k8s.io/v1", "/openapi/v3"} <= set(paths)
