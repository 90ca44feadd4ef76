"""kubectl get in every output form, with selectors, sorting and scopes."""

from __future__ import annotations

import json

import pytest
import yaml
from kubectl_program import Kubectl
from sample_objects import config_map, pod, unschedulable_pod


@pytest.fixture
def three(kubectl: Kubectl) -> Kubectl:
    """red, green and blue, made in another order than their names'."""
    kubectl(
        "create",
        "-f",
        "-",
        stdin=[
            config_map("red", {"n": "2"}, tier="web", app="a"),
            config_map("green", {"n": "3"}, tier="db", app="a"),
            config_map("blue", {"n": "1"}, tier="web", app="b"),
        ],
    )
    return kubectl


def names(kubectl: Kubectl, *arguments: str) -> list[str]:
    return [line.partition("/")[2] for line in kubectl("get", "configmaps", "-o", "name", *arguments).lines]


def test_json_and_yaml_show_the_same_object(three: Kubectl) -> None:
    as_json = three("get", "cm", "red", "-o", "json").json()
    as_yaml = yaml.safe_load(three("get", "cm", "red", "-o", "yaml").out)
    assert as_json == as_yaml
    assert as_json["kind"] == "ConfigMap"
    assert as_json["data"] == {"n": "2"}
    assert "managedFields" not in as_json["metadata"]
    managed = three("get", "cm", "red", "-o", "json", "--show-managed-fields").json()
    assert [m["manager"] for m in managed["metadata"]["managedFields"]] == ["kubectl-create"]


def test_several_objects_become_a_list(three: Kubectl) -> None:
    listed = three("get", "cm", "red", "blue", "-o", "json").json()
    assert listed["kind"] == "List"
    assert [o["metadata"]["name"] for o in listed["items"]] == ["red", "blue"]


def test_columns_and_paths(three: Kubectl) -> None:
    rows = three("get", "cm", "-l", "app", "-o", "custom-columns=NAME:.metadata.name,N:.data.n").rows()
    assert rows == [["NAME", "N"], ["blue", "1"], ["green", "3"], ["red", "2"]]
    path = '{range .items[*]}{.metadata.name}={.data.n}{"\\n"}{end}'
    assert three("get", "cm", "-l", "app", "-o", f"jsonpath={path}").lines == ["blue=1", "green=3", "red=2"]
    template = "{{range .items}}{{.metadata.name}} {{end}}"
    assert three("get", "cm", "-l", "app", "-o", f"go-template={template}").out.split() == [
        "blue",
        "green",
        "red",
    ]


def test_names_and_missing_ones(three: Kubectl) -> None:
    assert three("get", "cm/red", "cm/blue", "-o", "name").lines == ["configmap/red", "configmap/blue"]
    gone = three("get", "cm", "red", "nope", code=1)
    assert 'configmaps "nope" not found' in gone.err
    assert "red" in gone.out
    assert three("get", "cm", "nope", "--ignore-not-found").out == ""


def test_sorting(three: Kubectl) -> None:
    assert names(three, "-l", "app", "--sort-by=.data.n") == ["blue", "red", "green"]
    rows = three("get", "cm", "-l", "app", "--sort-by=.data.n", "--no-headers").rows()
    assert [row[0] for row in rows] == ["blue", "red", "green"]


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("tier=web", ["blue", "red"]),
        ("tier==web,app!=b", ["red"]),
        ("tier in (web,db),app notin (b)", ["green", "red"]),
        ("!tier,app", []),
        ("tier,tier!=db", ["blue", "red"]),
    ],
)
def test_label_selectors(three: Kubectl, selector: str, found: list[str]) -> None:
    assert names(three, "-l", selector) == found


def test_field_selectors(three: Kubectl) -> None:
    assert names(three, "--field-selector", "metadata.name=green") == ["green"]
    assert names(three, "-l", "app", "--field-selector", "metadata.name!=green") == ["blue", "red"]
    said = three.refused("get", "cm", "--field-selector", "data.n=1")
    assert '"data.n" is not a known field selector: only "metadata.name", "metadata.namespace"' in said


def test_field_selectors_of_pods(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=[unschedulable_pod("one"), unschedulable_pod("two")])
    for selector, found in {
        "status.phase=Pending": ["pod/one", "pod/two"],
        "status.phase!=Pending": [],
        "spec.nodeName=": ["pod/one", "pod/two"],
        "spec.restartPolicy=Always,metadata.name=two": ["pod/two"],
    }.items():
        assert kubectl("get", "pods", "-o", "name", "--field-selector", selector).lines == found, selector


def test_all_namespaces(three: Kubectl, anywhere: Kubectl) -> None:
    rows = anywhere("get", "cm", "-A", "-l", "tier=db,app=a").rows()
    assert rows[0] == ["NAMESPACE", "NAME", "DATA", "AGE"]
    assert [three.namespace, "green", "1"] in [row[:3] for row in rows]


def test_tables_of_pods(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=pod("web", app="x"))
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=100s")
    plain = kubectl("get", "pods").rows()
    assert plain[0] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert plain[1][:4] == ["web", "1/1", "Running", "0"]
    header, row = kubectl("get", "pods", "-o", "wide", "--show-labels").lines
    assert header.split()[5:] == ["IP", "NODE", "NOMINATED", "NODE", "READINESS", "GATES", "LABELS"]
    assert row.endswith("app=x")
    node = kubectl("get", "pod", "web", "-o", "jsonpath={.spec.nodeName}").out
    assert node in row.split()
    labelled = kubectl("get", "pods", "-L", "app").rows()
    assert labelled[0][-1] == "APP"
    assert labelled[1][-1] == "x"


def test_several_kinds_at_once(three: Kubectl) -> None:
    out = three("get", "cm/red", "sa/default", "-o", "name").lines
    assert out == ["configmap/red", "serviceaccount/default"]
    tables = three("get", "configmaps,serviceaccounts").out
    assert "configmap/red" in tables
    assert "serviceaccount/default" in tables


def test_chunks_give_the_whole_list(three: Kubectl) -> None:
    assert names(three, "--chunk-size=1", "-l", "app") == ["blue", "green", "red"]


def test_files_and_raw_paths(three: Kubectl) -> None:
    assert three("get", "-f", "-", "-o", "name", stdin=config_map("red")).lines == ["configmap/red"]
    raw = three("get", "--raw", f"/api/v1/namespaces/{three.namespace}/configmaps/red").json()
    assert raw["metadata"]["name"] == "red"
    said = three.refused("get", "--raw", "/api/v1/no-such-thing")
    assert "NotFound" in said


def test_an_unknown_kind(kubectl: Kubectl) -> None:
    assert (
        kubectl.refused("get", "unicorns").strip()
        == 'error: the server doesn\'t have a resource type "unicorns"'
    )


def test_discovery_survives_the_cache(anywhere: Kubectl) -> None:
    """kubectl revalidates its cached discovery by ETag; the second answer must mean the same as the first."""
    first = anywhere("api-resources", "-o", "name").lines
    assert "pods" in first
    assert anywhere("api-resources", "-o", "name").lines == first
    assert anywhere("api-resources", "-o", "name").lines == first


def test_output_is_json_per_item_for_every_listed_kind(anywhere: Kubectl) -> None:
    """Each kind that can be listed lists, as a table and as JSON."""
    kinds = [k for k in anywhere("api-resources", "--verbs=list", "-o", "name").lines if k]
    assert len(kinds) > 15
    for kind in kinds:
        whole = anywhere("get", kind, "-A", "-o", "json").json()
        assert whole["kind"] == "List", kind
        table = anywhere("get", "--raw", _path_of_all(anywhere, kind)).out
        assert json.loads(table)["items"] is not None, kind


def _path_of_all(anywhere: Kubectl, name: str) -> str:
    resource, _, group = name.partition(".")
    if not group:
        return f"/api/v1/{resource}"
    version = anywhere("get", "--raw", f"/apis/{group}").json()["preferredVersion"]["groupVersion"]
    return f"/apis/{version}/{resource}"
