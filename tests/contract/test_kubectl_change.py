"""kubectl label, annotate, patch, edit, replace, set, expose: changes of single objects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kubectl_program import Kubectl
from sample_objects import config_map, pod, unschedulable_pod


@pytest.fixture
def app(kubectl: Kubectl) -> Kubectl:
    kubectl("create", "-f", "-", stdin=config_map("app", {"a": "1", "b": "2"}, tier="web"))
    return kubectl


def data(kubectl: Kubectl) -> dict[str, str]:
    found: dict[str, str] = kubectl("get", "cm", "app", "-o", "json").json().get("data", {})
    return found


def test_labels(app: Kubectl) -> None:
    assert app("label", "cm", "app", "x=y").out == "configmap/app labeled\n"
    assert (
        app.refused("label", "cm", "app", "x=z")
        == "error: 'x' already has a value (y), and --overwrite is false\n"
    )
    app("label", "cm", "app", "x=z", "--overwrite")
    assert app("label", "cm", "app", "x-").out == "configmap/app unlabeled\n"
    assert app("get", "cm", "app", "-o", "json").json()["metadata"]["labels"] == {"tier": "web"}
    app("label", "cm", "-l", "tier=web", "every=one")
    assert app("get", "cm", "-l", "every=one", "-o", "name").lines == ["configmap/app"]
    said = app.refused("label", "cm", "app", f"k={'v' * 64}")
    assert "must be no more than 63" in said


def test_annotations(app: Kubectl) -> None:
    app("annotate", "cm", "app", "note=hello world")
    assert app("get", "cm", "app", "-o", "jsonpath={.metadata.annotations.note}").out == "hello world"
    app("annotate", "cm", "app", "note-")
    assert app("get", "cm", "app", "-o", "jsonpath={.metadata.annotations}").out == ""


def test_json_patch(app: Kubectl) -> None:
    steps = [
        {"op": "test", "path": "/data/a", "value": "1"},
        {"op": "replace", "path": "/data/a", "value": "9"},
        {"op": "move", "from": "/data/b", "path": "/data/c"},
    ]
    assert app("patch", "cm", "app", "--type=json", "-p", json.dumps(steps)).out == "configmap/app patched\n"
    assert data(app) == {"a": "9", "c": "2"}
    said = app.refused("patch", "cm", "app", "--type=json", "-p", json.dumps(steps[:1]))
    assert said == "The request is invalid: the server rejected our request due to an error in our request\n"


def test_merge_patch(app: Kubectl) -> None:
    app("patch", "cm", "app", "--type=merge", "-p", '{"data":{"a":null,"c":"3"}}')
    assert data(app) == {"b": "2", "c": "3"}
    assert (
        app("patch", "cm", "app", "--type=merge", "-p", '{"data":{"c":"3"}}').out
        == "configmap/app patched (no change)\n"
    )


def test_strategic_patch_merges_lists(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=unschedulable_pod("web"))
    patch = {
        "spec": {
            "tolerations": [{"key": "a", "operator": "Exists"}],
            "containers": [{"name": "main", "image": "x:2"}],
        }
    }
    kubectl("patch", "pod", "web", "-p", json.dumps(patch))
    spec = kubectl("get", "pod", "web", "-o", "json").json()["spec"]
    assert {"key": "a", "operator": "Exists"} in spec["tolerations"]
    containers = spec["containers"]
    assert [(c["name"], c["image"]) for c in containers] == [("main", "x:2")]
    assert containers[0]["terminationMessagePath"] == "/dev/termination-log"
    said = kubectl.refused("patch", "pod", "web", "-p", '{"spec":{"hostNetwork":true}}')
    assert "pod updates may not change fields other than" in said


def test_patches_that_are_none(app: Kubectl) -> None:
    assert "error decoding patch" in app.refused("patch", "cm", "app", "--type=merge", "-p", "{nope")
    assert app.refused("patch", "cm", "app", "--type=merge", "-p", '{"metadata":{"name":"other"}}')
    assert app.refused("patch", "cm", "nope", "--type=merge", "-p", "{}") == (
        'Error from server (NotFound): configmaps "nope" not found\n'
    )


def test_the_status_of_a_pod(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=unschedulable_pod("web"))
    kubectl(
        "patch", "pod", "web", "--subresource=status", "--type=merge", "-p", '{"status":{"message":"hi"}}'
    )
    assert (
        kubectl("get", "pod", "web", "--subresource=status", "-o", "jsonpath={.status.message}").out == "hi"
    )
    kubectl("patch", "pod", "web", "--type=merge", "-p", '{"status":{"message":"ignored"}}')
    assert kubectl("get", "pod", "web", "-o", "jsonpath={.status.message}").out == "hi"


def test_edit_with_an_editor(app: Kubectl, tmp_path: Path) -> None:
    assert (
        app("edit", "cm", "app", env=_editor(tmp_path, "s/a: .1./a: edited/")).out == "configmap/app edited\n"
    )
    assert data(app) == {"a": "edited", "b": "2"}
    assert "no changes made" in app("edit", "cm", "app", env=_editor(tmp_path, "s/zzz/zzz/")).err
    refused = app("edit", "cm", "app", env=_editor(tmp_path, "s/tier: web/tier: not a label!/"), code=None)
    assert refused.code == 1
    assert 'configmaps "app" is invalid' in refused.err


def _editor(directory: Path, expression: str) -> dict[str, str]:
    """An editor that makes one replacement, and gives up when it is shown the same mistake again."""
    script = directory / "editor"
    script.write_text(f'#!/bin/sh\nexec sed -i "{expression}" "$1"\n')
    script.chmod(0o755)
    return {"EDITOR": str(script)}


def test_edit_the_last_applied_configuration(kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl("apply", "-f", "-", stdin=config_map("app", {"a": "1"}))
    editor = _editor(tmp_path, "s/a: .1./a: second/")
    kubectl("apply", "edit-last-applied", "cm", "app", env=editor)
    assert kubectl("apply", "view-last-applied", "cm", "app", "-o", "json").json()["data"] == {"a": "second"}


def test_replace_by_force(app: Kubectl) -> None:
    before = app("get", "cm", "app", "-o", "jsonpath={.metadata.uid}").out
    app("replace", "--force", "-f", "-", stdin=config_map("app", {"z": "26"}))
    assert app("get", "cm", "app", "-o", "jsonpath={.metadata.uid}").out != before
    assert data(app) == {"z": "26"}


def test_immutable_things_stay(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin={**config_map("fixed", {"a": "1"}), "immutable": True})
    said = kubectl.refused("patch", "cm", "fixed", "--type=merge", "-p", '{"data":{"a":"2"}}')
    assert "data: Forbidden: field is immutable when `immutable` is set" in said
    kubectl("create", "secret", "generic", "s", "--from-literal=a=b")
    said = kubectl.refused("patch", "secret", "s", "--type=merge", "-p", '{"type":"other"}')
    assert 'type: Invalid value: "other": field is immutable' in said


def test_set_image_and_expose(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=pod("web", app="web"))
    assert (
        kubectl("set", "image", "pod/web", "main=registry.k8s.io/pause:3.9").out == "pod/web image updated\n"
    )
    kubectl("expose", "pod", "web", "--port=80", "--target-port=8080", "--name=front")
    service = kubectl("get", "service", "front", "-o", "json").json()
    assert service["spec"]["selector"] == {"app": "web"}
