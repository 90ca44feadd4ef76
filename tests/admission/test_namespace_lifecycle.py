from __future__ import annotations

import pytest
from admission_builders import NAMESPACE, World, pod, refusal, request, run

from podbay.apiserver.admission.namespace_lifecycle import NamespaceLifecycle

PLUGIN = NamespaceLifecycle()


def test_a_missing_namespace_is_not_found_as_such() -> None:
    error = refusal(World(), request("pods", pod(), namespace="nowhere"), PLUGIN)
    assert error.status() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'namespaces "nowhere" not found',
        "reason": "NotFound",
        "details": {"name": "nowhere", "kind": "namespaces"},
        "code": 404,
    }


@pytest.mark.parametrize("operation", ["UPDATE", "DELETE", "CONNECT"])
def test_only_creates_look_at_the_namespace(operation: str) -> None:
    run(World(), request("pods", pod(), operation=operation, namespace="nowhere"), PLUGIN)


def test_subresources_are_creates_too() -> None:
    attributes = request("pods", {"target": {}}, subresource="binding", name="p", namespace="nowhere")
    assert refusal(World(), attributes, PLUGIN).code == 404


def test_reviews_tell_nothing_about_namespaces() -> None:
    run(
        World(),
        request("localsubjectaccessreviews.authorization.k8s.io", {"spec": {}}, namespace="nowhere"),
        PLUGIN,
    )


def test_cluster_objects_have_no_namespace() -> None:
    run(World(), request("nodes", {"metadata": {"name": "n"}}), PLUGIN)


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
def test_system_namespaces_stay(name: str) -> None:
    error = refusal(World(), request("namespaces", operation="DELETE", name=name, namespace=name), PLUGIN)
    assert error.message == f'namespaces "{name}" is forbidden: this namespace may not be deleted'


@pytest.mark.parametrize("name", ["kube-node-lease", NAMESPACE])
def test_other_namespaces_may_go(name: str) -> None:
    run(World(), request("namespaces", operation="DELETE", name=name, namespace=name), PLUGIN)


@pytest.mark.parametrize(
    ("metadata", "shown"), [({"generateName": "g-"}, "g-"), ({}, "Unknown"), ({"name": "x"}, "x")]
)
def test_the_refusal_names_the_object_as_far_as_it_can(metadata: dict[str, str], shown: str) -> None:
    world = World()
    world.put("namespaces", {"metadata": {"name": NAMESPACE}, "status": {"phase": "Terminating"}})
    error = refusal(world, request("configmaps", {"metadata": metadata}, name=""), PLUGIN)
    assert error.message.startswith(f'configmaps "{shown}" is forbidden: unable to create new content')
    assert error.causes[0]["reason"] == "NamespaceTerminating"
