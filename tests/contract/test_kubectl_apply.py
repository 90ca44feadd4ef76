"""kubectl apply, client-side and server-side, diff, and who owns which field."""

from __future__ import annotations

import json
from typing import Any

from kubectl_program import Kubectl
from sample_objects import config_map, pod


def managers(kubectl: Kubectl, name: str) -> dict[str, dict[str, Any]]:
    obj = kubectl("get", "cm", name, "-o", "json", "--show-managed-fields").json()
    return {m["manager"]: m for m in obj["metadata"]["managedFields"]}


def test_created_configured_unchanged(kubectl: Kubectl) -> None:
    assert (
        kubectl("apply", "-f", "-", stdin=config_map("app", {"a": "1", "b": "2"})).out
        == "configmap/app created\n"
    )
    version = kubectl("get", "cm", "app", "-o", "jsonpath={.metadata.resourceVersion}").out
    assert (
        kubectl("apply", "-f", "-", stdin=config_map("app", {"a": "1", "b": "2"})).out
        == "configmap/app unchanged\n"
    )
    assert kubectl("get", "cm", "app", "-o", "jsonpath={.metadata.resourceVersion}").out == version
    kubectl("patch", "cm", "app", "--type=merge", "-p", '{"data":{"c":"3"}}')
    assert (
        kubectl("apply", "-f", "-", stdin=config_map("app", {"a": "9"})).out == "configmap/app configured\n"
    )
    # What apply no longer mentions goes; what it never mentioned stays.
    assert kubectl("get", "cm", "app", "-o", "json").json()["data"] == {"a": "9", "c": "3"}


def test_last_applied(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=config_map("app", {"a": "1"}))
    shown = kubectl("apply", "view-last-applied", "cm", "app", "-o", "json").json()
    assert shown["data"] == {"a": "1"}
    kubectl("apply", "set-last-applied", "-f", "-", stdin=config_map("app", {"a": "2"}))
    assert kubectl("apply", "view-last-applied", "cm", "app", "-o", "json").json()["data"] == {"a": "2"}


def test_apply_merges_lists_by_key(kubectl: Kubectl) -> None:
    """The strategic merge of `spec.containers` goes by name and of `env` too."""
    web = pod("web")
    kubectl("apply", "-f", "-", stdin=web)
    web["metadata"]["labels"] = {"changed": "yes"}
    web["spec"]["containers"][0]["image"] = "registry.k8s.io/pause:3.9"
    kubectl("apply", "-f", "-", stdin=web)
    stored = kubectl("get", "pod", "web", "-o", "json").json()
    assert stored["spec"]["containers"][0]["image"] == "registry.k8s.io/pause:3.9"
    assert stored["metadata"]["labels"] == {"changed": "yes"}


def test_prune(kubectl: Kubectl) -> None:
    both = [config_map("keep", {}, set="x"), config_map("drop", {}, set="x")]
    kubectl("apply", "-f", "-", stdin=both)
    allow = "--prune-allowlist=core/v1/ConfigMap"
    out = kubectl("apply", "-f", "-", "--prune", "-l", "set=x", allow, stdin=both[:1]).out
    assert "configmap/drop pruned" in out
    assert kubectl("get", "cm", "-l", "set=x", "-o", "name").lines == ["configmap/keep"]


def test_diff(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=config_map("app", {"a": "1"}))
    assert kubectl("diff", "-f", "-", stdin=config_map("app", {"a": "1"})).out == ""
    changed = kubectl("diff", "-f", "-", code=1, stdin=config_map("app", {"a": "2"}))
    assert '-  a: "1"' in changed.lines
    assert '+  a: "2"' in changed.lines
    other = kubectl(
        "diff", "--server-side", "--force-conflicts", "-f", "-", code=1, stdin=config_map("new", {"a": "1"})
    )
    assert "+  name: new" in other.lines


def test_server_side_apply_and_its_conflicts(kubectl: Kubectl) -> None:
    def apply(data: dict[str, str], manager: str, *more: str, code: int = 0) -> Any:
        return kubectl(
            "apply",
            "--server-side",
            f"--field-manager={manager}",
            *more,
            "-f",
            "-",
            code=code,
            stdin=config_map("app", data),
        )

    assert apply({"a": "1", "b": "1"}, "one").out == "configmap/app serverside-applied\n"
    assert apply({"a": "1"}, "two").out == "configmap/app serverside-applied\n"
    said = apply({"a": "2"}, "two", code=1).err
    assert 'Apply failed with 1 conflict: conflict with "one": .data.a' in said
    apply({"a": "2"}, "two", "--force-conflicts")
    owned = {name: m["fieldsV1"]["f:data"] for name, m in managers(kubectl, "app").items()}
    assert owned == {"one": {"f:b": {}}, "two": {"f:a": {}}}
    apply({}, "two")
    assert kubectl("get", "cm", "app", "-o", "json").json()["data"] == {"b": "1"}


def test_updates_take_fields_from_appliers(kubectl: Kubectl) -> None:
    kubectl("apply", "--server-side", "-f", "-", stdin=config_map("app", {"a": "1"}))
    kubectl("patch", "cm", "app", "--type=merge", "-p", '{"data":{"a":"2"}}')
    said = kubectl.refused("apply", "--server-side", "-f", "-", stdin=config_map("app", {"a": "1"}))
    assert 'conflict with "kubectl-patch" using v1: .data.a' in said
    assert managers(kubectl, "app")["kubectl-patch"]["operation"] == "Update"


def test_client_side_apply_is_taken_over(kubectl: Kubectl) -> None:
    """kubectl hands the fields of a client-side apply to the server-side manager."""
    kubectl("apply", "-f", "-", stdin=config_map("app", {"a": "1", "b": "1"}))
    kubectl("apply", "--server-side", "-f", "-", stdin=config_map("app", {"a": "2"}))
    owners = managers(kubectl, "app")
    assert "kubectl-client-side-apply" not in owners
    assert owners["kubectl"]["fieldsV1"]["f:data"] == {"f:a": {}}
    assert kubectl("get", "cm", "app", "-o", "json").json()["data"] == {"a": "2"}


def test_applying_a_dry_run(kubectl: Kubectl) -> None:
    out = kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=config_map("ghost")).out
    assert out == "configmap/ghost serverside-applied (server dry run)\n"
    assert kubectl("get", "cm", "ghost", "--ignore-not-found").out == ""


def test_unknown_fields_of_an_applied_object(kubectl: Kubectl) -> None:
    said = kubectl.refused("apply", "--server-side", "-f", "-", stdin={**config_map("odd"), "dta": {}})
    assert ".dta: field not declared in schema" in said


def test_apply_an_edited_list(kubectl: Kubectl) -> None:
    """`get -o json | apply -f -` goes through unharmed."""
    kubectl(
        "create",
        "-f",
        "-",
        stdin=[config_map("a", {"x": "1"}, set="y"), config_map("b", {"x": "1"}, set="y")],
    )
    listed = kubectl("get", "cm", "-l", "set=y", "-o", "json").out.replace('"x": "1"', '"x": "2"')
    applied = kubectl("apply", "-f", "-", stdin=listed).out
    assert applied.count("configured") == 2
    items = kubectl("get", "cm", "-l", "set=y", "-o", "json").json()["items"]
    assert [i["data"] for i in items] == [{"x": "2"}, {"x": "2"}]


def test_stale_objects_are_refused(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=config_map("app", {"a": "1"}))
    stale = kubectl("get", "cm", "app", "-o", "json").out
    kubectl("patch", "cm", "app", "--type=merge", "-p", '{"data":{"a":"2"}}')
    said = kubectl.refused("replace", "-f", "-", stdin=stale)
    assert (
        'Operation cannot be fulfilled on configmaps "app": the object has been modified; '
        "please apply your changes to the latest version and try again" in said
    )
    fresh = json.loads(kubectl("get", "cm", "app", "-o", "json").out)
    fresh["data"] = {"a": "3"}
    assert kubectl("replace", "-f", "-", stdin=fresh).out == "configmap/app replaced\n"
