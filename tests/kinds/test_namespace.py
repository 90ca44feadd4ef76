"""Namespaces: what a new one has, what its views may change, how it ends."""

from __future__ import annotations

from whole_server import Server

from podbay.apiserver.kinds.namespace import NAMESPACE

PATH = "/api/v1/namespaces"


def test_a_new_namespace_is_active_labelled_and_held_by_its_finalizer(server: Server) -> None:
    made = server.create(PATH, {"metadata": {"name": "a"}, "status": {"phase": "Terminating"}})
    assert made["spec"] == {"finalizers": ["kubernetes"]}
    assert made["status"] == {"phase": "Active"}
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": "a"}
    assert server.row(NAMESPACE, made) == ["a", "Active"]


def test_a_generated_name_gets_its_label_too(server: Server) -> None:
    made = server.create(PATH, {"metadata": {"generateName": "a-"}})
    assert made["metadata"]["labels"]["kubernetes.io/metadata.name"] == made["metadata"]["name"]


def test_spec_finalizers_must_be_qualified(server: Server) -> None:
    body = {"metadata": {"name": "a"}, "spec": {"finalizers": ["nope"]}}
    assert server.refusals("POST", PATH, body) == [
        'spec.finalizers: Invalid value: "nope": name is neither a standard finalizer name nor is it fully qualified'
    ]


def test_an_update_changes_neither_spec_nor_status(server: Server) -> None:
    code, changed = server.call("PATCH", f"{PATH}/ns", {"spec": {"finalizers": []}, "status": {"phase": "x"}})
    assert code == 200
    assert changed["spec"] == {"finalizers": ["kubernetes"]}
    assert changed["status"] == {"phase": "Active"}


def test_the_phase_follows_the_deletion_timestamp(server: Server) -> None:
    causes = server.refusals("PATCH", f"{PATH}/ns/status", {"status": {"phase": "Terminating"}})
    assert causes == [
        "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"
    ]


def test_deletion_ends_when_the_finalizer_is_taken_off(server: Server) -> None:
    code, deleted = server.call("DELETE", f"{PATH}/ns")
    assert (code, deleted["status"]["phase"], deleted["spec"]) == (
        200,
        "Terminating",
        {"finalizers": ["kubernetes"]},
    )
    assert server.call("GET", f"{PATH}/ns")[0] == 200
    code, again = server.call("DELETE", f"{PATH}/ns")
    assert (code, again["status"]["phase"]) == (200, "Terminating")
    deleted["spec"] = {"finalizers": []}
    assert server.call("PUT", f"{PATH}/ns/finalize", deleted)[0] == 200
    assert server.call("GET", f"{PATH}/ns")[0] == 404


def test_finalize_checks_each_name(server: Server) -> None:
    _, namespace = server.call("GET", f"{PATH}/ns")
    namespace["spec"]["finalizers"] = ["a/b/c"]
    (cause,) = server.refusals("PUT", f"{PATH}/ns/finalize", namespace)
    assert cause.startswith('spec.finalizers[0]: Invalid value: "a/b/c": a valid label key must consist of')


def test_selects_by_phase(server: Server) -> None:
    names = [
        n["metadata"]["name"] for n in server.call("GET", f"{PATH}?fieldSelector=status.phase=Active")[1]
    ]
    assert "ns" in names
    assert server.call("GET", f"{PATH}?fieldSelector=status.phase=Terminating") == (200, [])
