"""What `podbay shell` adds: a container beside one that runs, a copy of a pod that has ended."""

from __future__ import annotations

from typing import Any

from podbay.pods.identity import identity_of
from podbay.pods.shell import SHELL_OF_LABEL, copy_of, ephemeral_container, find_container, shell_command

MOUNTS = [
    {"name": "data", "mountPath": "/data"},
    {"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"},
]
POD: dict[str, Any] = {
    "metadata": {
        "name": "load-abc",
        "namespace": "team",
        "uid": "u",
        "labels": {"podbay.dev/deployment": "prod", "dag_id": "d", "task_id": "t", "run_id": "r"},
        "annotations": {"podbay.dev/task-id": "t"},
        "ownerReferences": [{"name": "x"}],
        "finalizers": ["a/b"],
    },
    "spec": {
        "nodeName": "n",
        "priority": 5,
        "priorityClassName": "batch",
        "serviceAccountName": "loader",
        "volumes": [{"name": "data", "emptyDir": {}}, {"name": "kube-api-access-x", "projected": {}}],
        "initContainers": [{"name": "prepare", "image": "i", "volumeMounts": MOUNTS}],
        "containers": [
            {
                "name": "base",
                "image": "task:1",
                "command": ["load"],
                "args": ["--all"],
                "env": [{"name": "WHO", "value": "me"}],
                "envFrom": [{"secretRef": {"name": "s"}}],
                "ports": [{"containerPort": 1}],
                "livenessProbe": {"exec": {"command": ["true"]}},
                "resources": {"requests": {"cpu": "1"}},
                "securityContext": {"runAsUser": 7},
                "volumeMounts": [*MOUNTS, {"name": "data", "mountPath": "/part", "subPath": "part"}],
            },
            {"name": "airflow-xcom-sidecar", "image": "s"},
        ],
    },
    "status": {"phase": "Failed"},
}


def copied() -> dict[str, Any]:
    return copy_of(
        POD, "base", suffix="x7", command=["sh"], tty=True, seconds=60, annotations={"a": "b"}, image=None
    )


def test_a_copy_has_what_the_task_had() -> None:
    spec = copied()["spec"]
    [main] = spec["containers"]
    base = POD["spec"]["containers"][0]
    for key in ("name", "image", "env", "envFrom", "resources", "securityContext"):
        assert main[key] == base[key]
    assert [each["mountPath"] for each in main["volumeMounts"]] == ["/data", "/part"]
    assert spec["volumes"] == [{"name": "data", "emptyDir": {}}]
    assert [each["name"] for each in spec["initContainers"]] == ["prepare"]
    assert (spec["serviceAccountName"], spec["priorityClassName"]) == ("loader", "batch")


def test_a_copy_runs_a_shell_for_a_while_and_nothing_else() -> None:
    spec = copied()["spec"]
    [main] = spec["containers"]
    assert main["command"] == ["sh"]
    assert not {"args", "ports", "livenessProbe"} & main.keys()
    assert (main["stdin"], main["stdinOnce"], main["tty"]) == (True, True, True)
    assert (spec["activeDeadlineSeconds"], spec["restartPolicy"]) == (60, "Never")
    assert not {"nodeName", "priority"} & spec.keys()


def test_nobody_takes_a_copy_for_the_pod_of_a_task() -> None:
    metadata = copied()["metadata"]
    assert metadata["name"] == "load-abc-shell-x7"
    assert metadata["labels"] == {
        SHELL_OF_LABEL: "load-abc",
        "podbay.dev/deployment": "prod",
        "app.kubernetes.io/managed-by": "podbay",
    }
    assert metadata["annotations"] == {"a": "b"}
    assert not {"ownerReferences", "finalizers", "uid"} & metadata.keys()
    assert identity_of(copied()) is None


def test_the_original_stays_as_it_is() -> None:
    before = repr(POD)
    copied()["spec"]["containers"][0]["env"].append("more")
    assert repr(POD) == before


def test_a_container_beside_another_has_what_the_api_takes() -> None:
    target = find_container(POD, "base")
    assert target is not None
    made = ephemeral_container(target, name="shell-1", command=["sh"], tty=False, image="debug:1")
    assert (made["name"], made["targetContainerName"], made["image"]) == ("shell-1", "base", "debug:1")
    assert made["env"] == target["env"]
    # Refused in ephemeral containers: resources, ports, probes, subPath.
    assert not {"resources", "ports", "livenessProbe", "args"} & made.keys()
    assert made["volumeMounts"] == MOUNTS
    assert find_container(POD, "other") is None


def test_kubernetes_expands_nothing_in_the_words() -> None:
    words = shell_command(["echo", "$(HOME) $$"], 60)
    assert words[-2:] == ["echo", "$$(HOME) $$$$"]
    assert "60" in words
