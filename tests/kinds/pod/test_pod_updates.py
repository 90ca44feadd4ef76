"""What may still change in a pod, its status, its ephemeral containers and its resources."""

from __future__ import annotations

from typing import Any

RULE = (
    "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"
)


def image(name: str) -> list[dict[str, Any]]:
    return [{"op": "replace", "path": "/spec/containers/0/image", "value": name}]


def test_the_image_may_change_and_counts_as_a_generation(pods: Any) -> None:
    assert pods.create()["metadata"]["generation"] == 1
    code, pod = pods.patch(image("y:2"), kind="json")
    assert (code, pod["metadata"]["generation"]) == (200, 2)
    code, pod = pods.patch({"metadata": {"labels": {"a": "b"}}})
    assert (code, pod["metadata"]["generation"]) == (200, 2)


def test_anything_else_is_refused_with_the_difference(pods: Any) -> None:
    pods.create(command=["sh", "-c", "echo <a> && b"])
    patch = [{"op": "replace", "path": "/spec/containers/0/command/2", "value": "other"}]
    (cause,) = pods.patch_refusals(patch, kind="json")
    assert cause == RULE + (
        "@@ -8,7 +8,7 @@\n"
        '    "Command": [\n'
        '     "sh",\n'
        '     "-c",\n'
        '-    "echo \\u003ca\\u003e \\u0026\\u0026 b"\n'
        '+    "other"\n'
        "    ],\n"
        '    "Args": null,\n'
        '    "WorkingDir": "",\n'
    )


def test_tolerations_only_grow(pods: Any) -> None:
    old = pods.create()["spec"]["tolerations"]
    code, _ = pods.patch({"spec": {"tolerations": [*old, {"key": "z", "operator": "Exists"}]}})
    assert code == 200
    assert pods.patch_refusals({"spec": {"tolerations": []}}) == [
        "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
    ]


def test_a_deadline_only_shrinks(pods: Any) -> None:
    pods.create({"activeDeadlineSeconds": 50})
    assert pods.patch({"spec": {"activeDeadlineSeconds": 5}})[0] == 200
    assert pods.patch_refusals({"spec": {"activeDeadlineSeconds": 6}}) == [
        "spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value"
    ]
    assert pods.patch_refusals({"spec": {"activeDeadlineSeconds": None}}) == [
        "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value"
    ]


def test_a_negative_grace_period_may_become_one(pods: Any) -> None:
    pods.create({"terminationGracePeriodSeconds": -1})
    assert pods.patch({"spec": {"terminationGracePeriodSeconds": 1}})[0] == 200
    (cause,) = pods.patch_refusals({"spec": {"terminationGracePeriodSeconds": 2}})
    assert cause.startswith(RULE)


def test_gates_are_only_removed(pods: Any) -> None:
    pods.create({"schedulingGates": [{"name": "a"}]})
    more = {"spec": {"schedulingGates": [{"name": "a"}, {"name": "b"}]}}
    assert pods.patch_refusals(more) == [
        "spec.schedulingGates[1].name: Forbidden: only deletion is allowed, but found new scheduling gate 'b'"
    ]
    assert pods.patch({"spec": {"schedulingGates": []}})[0] == 200


def test_a_gated_pod_narrows_its_choice_of_nodes(pods: Any) -> None:
    pods.create({"schedulingGates": [{"name": "a"}], "nodeSelector": {"disk": "ssd"}})
    assert pods.patch({"spec": {"nodeSelector": {"zone": "a"}}})[0] == 200
    (cause,) = pods.patch_refusals({"spec": {"nodeSelector": {"disk": None}}})
    assert "only additions to spec.nodeSelector are allowed (no mutations or deletions)" in cause


def test_the_status_keeps_the_spec_and_its_class(pods: Any) -> None:
    pods.create()
    code, pod = pods.patch({"status": {"phase": "Running", "podIP": "10.0.0.1"}}, sub="/status")
    assert code == 200
    assert pod["status"]["podIPs"] == [{"ip": "10.0.0.1"}]
    assert pod["status"]["qosClass"] == "BestEffort"
    assert pods.patch_refusals({"status": {"qosClass": "Guaranteed"}}, sub="/status") == [
        'status.qosClass: Invalid value: "Guaranteed": field is immutable'
    ]


def container_status(state: dict[str, Any]) -> dict[str, Any]:
    one = {"name": "main", "state": state, "ready": False, "restartCount": 0, "image": "x", "imageID": ""}
    return {"status": {"containerStatuses": [one]}}


def test_a_container_that_ended_for_good_does_not_run_again(pods: Any) -> None:
    pods.create({"restartPolicy": "Never"})
    assert pods.patch(container_status({"terminated": {"exitCode": 0}}), sub="/status")[0] == 200
    again = container_status({"running": {}, "terminated": None})
    assert pods.patch_refusals(again, sub="/status") == [
        "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"
    ]


def debug(**fields: Any) -> dict[str, Any]:
    return {"spec": {"ephemeralContainers": [{"name": "dbg", "image": "b", **fields}]}}


def test_ephemeral_containers_are_added_and_never_changed(pods: Any) -> None:
    pods.create()
    where: dict[str, Any] = {"sub": "/ephemeralcontainers", "kind": "strategic-merge"}
    assert pods.patch_refusals(debug(ports=[{"containerPort": 1}]), **where) == [
        "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container"
    ]
    assert pods.patch(debug(targetContainerName="main"), **where)[0] == 200
    (cause,) = pods.patch_refusals(debug(image="c"), **where)
    assert cause.startswith(
        'spec.ephemeralContainers: Forbidden: existing ephemeral containers "dbg" may not be changed\n'
    )


def resources(**requests: str) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "main", "resources": {"requests": requests}}]}}


def test_resources_change_in_place_within_their_class(pods: Any) -> None:
    where: dict[str, Any] = {"sub": "/resize", "kind": "strategic-merge"}
    pods.create(resources={"requests": {"cpu": "1"}})
    code, pod = pods.patch(resources(cpu="2"), **where)
    assert (code, pod["spec"]["containers"][0]["resources"]) == (200, {"requests": {"cpu": "2"}})
    gone = [{"op": "remove", "path": "/spec/containers/0/resources/requests"}]
    assert pods.patch_refusals(gone, sub="/resize", kind="json") != []


def test_resources_do_not_make_another_class(pods: Any) -> None:
    pods.create()
    assert pods.patch_refusals(resources(cpu="1"), sub="/resize", kind="strategic-merge") == [
        'spec: Invalid value: "BestEffort": Pod QOS Class may not change as a result of resizing'
    ]


def test_an_image_may_not_vanish(pods: Any) -> None:
    pods.create()
    (cause, *_) = pods.patch_refusals(image(""), kind="json")
    assert cause == "spec.containers[0].image: Required value"
