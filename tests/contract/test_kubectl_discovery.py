"""kubectl api-resources, api-versions, explain, version, cluster-info: what the cluster says of itself."""

from __future__ import annotations

import json
import re

import pytest
from kubectl_program import Kubectl


def test_api_resources(anywhere: Kubectl) -> None:
    # metrics.k8s.io has resources of the same names, so names tell nothing.
    rows = anywhere("api-resources", "--no-headers").rows()
    assert ["pods", "po", "v1", "true", "Pod"] in rows
    assert ["nodes", "no", "v1", "false", "Node"] in rows
    assert ["leases", "coordination.k8s.io/v1", "true", "Lease"] in rows
    namespaced = anywhere("api-resources", "--namespaced=false", "-o", "name").lines
    assert "namespaces" in namespaced
    assert "pods" not in namespaced
    grouped = anywhere("api-resources", "--api-group=rbac.authorization.k8s.io", "-o", "name").lines
    assert sorted(grouped) == [
        f"{kind}.rbac.authorization.k8s.io"
        for kind in ("clusterrolebindings", "clusterroles", "rolebindings", "roles")
    ]
    deletable = anywhere("api-resources", "--verbs=deletecollection", "-o", "name").lines
    assert "pods" in deletable
    assert "namespaces" not in deletable
    assert "pods" in anywhere("api-resources", "--categories=all", "-o", "name").lines


def test_verbs_of_pods(anywhere: Kubectl) -> None:
    wide = anywhere("api-resources", "-o", "wide", "--no-headers").rows()
    pods = next(row for row in wide if row[0] == "pods" and row[-3] == "Pod")
    assert pods[-2].split(",") == [
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch",
    ]


def test_api_versions(anywhere: Kubectl) -> None:
    versions = anywhere("api-versions").lines
    for wanted in ("v1", "rbac.authorization.k8s.io/v1", "coordination.k8s.io/v1", "events.k8s.io/v1"):
        assert wanted in versions


@pytest.mark.parametrize(
    ("path", "kind", "seen"),
    [
        ("pod", "Pod", r"spec\s+<PodSpec>"),
        ("pods.spec.containers", "Pod", r"image\s+<string>"),
        ("po.spec.containers.resources.limits", "Pod", r"FIELD: limits <map\[string\]Quantity>"),
        ("configmap.data", "ConfigMap", r"FIELD: data <map\[string\]string>"),
        ("lease.spec.renewTime", "Lease", r"FIELD: renewTime <string>"),
        ("role.rules", "Role", r"verbs\s+<\[\]string>.*-required-"),
        ("node.status.conditions", "Node", r"lastHeartbeatTime\s+<string>"),
    ],
)
def test_explain(anywhere: Kubectl, path: str, kind: str, seen: str) -> None:
    text = anywhere("explain", path).out
    assert re.search(rf"^KIND:\s+{kind}$", text, re.MULTILINE)
    assert re.search(seen, text)


def test_explain_more(anywhere: Kubectl) -> None:
    tree = anywhere("explain", "pod.spec", "--recursive").out
    assert re.search(r"^\s+terminationGracePeriodSeconds\s+<integer>$", tree, re.MULTILINE)
    assert re.search(r"^\s+matchExpressions\s+<\[\]LabelSelectorRequirement>$", tree, re.MULTILINE)
    old = anywhere("explain", "pod.spec.containers", "--output=plaintext-openapiv2").out
    assert re.search(r"RESOURCE: containers <\[\]Object>", old)
    versioned = anywhere("explain", "events", "--api-version=events.k8s.io/v1").out
    assert re.search(r"regarding\s+<ObjectReference>", versioned)
    assert anywhere.refused("explain", "pod.spec.nope").endswith('error: field "nope" does not exist\n')


def test_every_kind_explains_itself(anywhere: Kubectl) -> None:
    for row in anywhere("api-resources", "--no-headers").rows():
        name, version = row[0], row[-3]
        assert "FIELDS:" in anywhere("explain", name, f"--api-version={version}").out, name


def test_version(anywhere: Kubectl) -> None:
    said = anywhere("version", "-o", "json").json()
    assert re.match(r"v1\.\d+\.", said["serverVersion"]["gitVersion"])
    assert said["serverVersion"]["major"] == "1"
    assert json.loads(anywhere("get", "--raw", "/version").out) == said["serverVersion"]


def test_cluster_info(anywhere: Kubectl) -> None:
    assert re.search(r"Kubernetes control plane.* is running at ", anywhere("cluster-info").out)


def test_openapi_documents(anywhere: Kubectl) -> None:
    index = anywhere("get", "--raw", "/openapi/v3").json()["paths"]
    for path in ("api/v1", "apis/rbac.authorization.k8s.io/v1"):
        document = anywhere("get", "--raw", index[path]["serverRelativeURL"]).json()
        assert document["openapi"].startswith("3.")
        assert document["components"]["schemas"]
    whole = anywhere("get", "--raw", "/openapi/v2").json()
    assert whole["swagger"] == "2.0"
    assert "io.k8s.api.core.v1.Pod" in whole["definitions"]


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
def test_health(anywhere: Kubectl, path: str) -> None:
    assert anywhere("get", "--raw", path).out == "ok"
    assert f"{path.strip('/')} check passed" in anywhere("get", "--raw", f"{path}?verbose").out


def test_metrics(anywhere: Kubectl) -> None:
    assert "apiserver_request_total{" in anywhere("get", "--raw", "/metrics").out
