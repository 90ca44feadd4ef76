"""Volumes in real containers: contents, modes, owners, live updates, sub paths, claims, limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from agent_pods import AgentCluster, pod, shell, state

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.usefixtures("namespace")]


def mounted(script: str, *names: str, **more: Any) -> dict[str, Any]:
    """A container with each volume mounted at /NAME."""
    return shell(script, volumeMounts=[{"name": n, "mountPath": f"/{n}"} for n in names], **more)


def test_projected_files_with_modes_and_paths(node: AgentCluster) -> None:
    node.secret("s", password="geheim")
    node.config_map("c", **{"app.ini": "x=1"})
    sources = [
        {"secret": {"name": "s", "items": [{"key": "password", "path": "deep/pw", "mode": 0o400}]}},
        {"configMap": {"name": "c"}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"configMap": {"name": "missing", "optional": True}},
    ]
    volumes = [{"name": "v", "projected": {"sources": sources, "defaultMode": 0o640}}]
    script = "cd /v; cat deep/pw app.ini labels; for f in deep/pw app.ini; do stat -Lc %a $f; done"
    node.run(pod(mounted(script, "v"), labels={"b": "2", "a": "1"}, volumes=volumes))
    assert node.log() == 'geheimx=1a="1"\nb="2"400\n640\n'


def test_a_config_map_is_updated_live_and_in_one_step(node: AgentCluster) -> None:
    node.config_map("c", a="old", b="old")
    script = "while :; do cat /c/a; echo; test $(cat /c/a) = new && { cat /c/b; exit 0; }; sleep 0.1; done"
    node.running(pod(mounted(script, "c"), volumes=[{"name": "c", "configMap": {"name": "c"}}]))
    node.patch("configmaps", "c", {"data": {"a": "new", "b": "new"}})
    found = node.wait(lambda p: p["status"]["phase"] == "Succeeded")
    assert found and node.log().endswith("new\nnew")


def test_labels_of_a_running_pod_reach_its_volume(node: AgentCluster) -> None:
    items = [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]
    script = "until grep -q after /d/l; do sleep 0.1; done"
    node.running(
        pod(
            mounted(script, "d"),
            labels={"k": "before"},
            volumes=[{"name": "d", "downwardAPI": {"items": items}}],
        )
    )
    node.patch("pods", "p", {"metadata": {"labels": {"k": "after"}}})
    node.wait(lambda p: p["status"]["phase"] == "Succeeded")


def test_a_missing_secret_is_waited_for(node: AgentCluster) -> None:
    node.create(pod(mounted("cat /s/k", "s"), volumes=[{"name": "s", "secret": {"secretName": "late"}}]))
    text = 'MountVolume.SetUp failed for volume "s" : secret "late" not found'
    node.wait_event("FailedMount", text)
    assert state(node.get()) == {"waiting": {"reason": "ContainerCreating"}}
    node.secret("late", k="here")
    node.wait(lambda p: p["status"]["phase"] == "Succeeded")
    assert node.log() == "here"


def test_a_missing_key_is_named(node: AgentCluster) -> None:
    node.secret("s", a="1")
    volume = {"name": "s", "secret": {"secretName": "s", "items": [{"key": "nope", "path": "x"}]}}
    node.create(pod(mounted("true", "s"), volumes=[volume]))
    text = 'MountVolume.SetUp failed for volume "s" : references non-existent secret key: nope'
    node.wait_event("FailedMount", text)


def test_sub_paths(node: AgentCluster) -> None:
    mounts = [
        {"name": "v", "mountPath": "/whole"},
        {"name": "v", "mountPath": "/part", "subPath": "a/b"},
        {"name": "v", "mountPath": "/own", "subPathExpr": "$(POD)/x"},
        {"name": "c", "mountPath": "/etc/app.ini", "subPath": "app.ini"},
    ]
    node.config_map("c", **{"app.ini": "ini"})
    main = shell(
        "touch /part/f /own/g; cd /whole; find . -type f | sort; cat /etc/app.ini",
        volumeMounts=mounts,
        env=[{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
    )
    volumes = [{"name": "v", "emptyDir": {}}, {"name": "c", "configMap": {"name": "c"}}]
    node.run(pod(main, volumes=volumes))
    assert node.log() == "./a/b/f\n./p/x/g\nini"


def test_a_sub_path_with_an_unknown_name_is_refused(node: AgentCluster) -> None:
    mount = {"name": "v", "mountPath": "/v", "subPathExpr": "$(NOBODY)"}
    node.create(pod(shell("true", volumeMounts=[mount]), volumes=[{"name": "v", "emptyDir": {}}]))
    found = node.wait(lambda p: state(p)["waiting"]["reason"] == "CreateContainerConfigError")
    assert state(found)["waiting"]["message"] == "missing value for NOBODY"


def test_a_claim_keeps_data_from_pod_to_pod(node: AgentCluster) -> None:
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    node.create({"kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": claim})
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    user = {"runAsUser": 1234}
    assert node.run(pod(mounted("echo kept > /v/f", "v"), name="w", volumes=volumes, securityContext=user))
    found = node.run(pod(mounted("cat /v/f", "v"), name="r", volumes=volumes))
    assert found["status"]["phase"] == "Succeeded" and node.log("r") == "kept\n"


def test_host_paths_are_checked_and_made(node: AgentCluster, tmp_path: Path) -> None:
    made = tmp_path / "made"
    volumes = [{"name": "h", "hostPath": {"path": str(made), "type": "DirectoryOrCreate"}}]
    node.run(pod(mounted("echo x > /h/f", "h"), name="a", volumes=volumes))
    assert (made / "f").read_text() == "x\n"
    volumes = [{"name": "h", "hostPath": {"path": str(made / "f"), "type": "Directory"}}]
    node.create(pod(mounted("true", "h"), name="b", volumes=volumes))
    text = (
        f'MountVolume.SetUp failed for volume "h" : hostPath type check failed: {made}/f is not a directory'
    )
    node.wait_event("FailedMount", text, "b")


def test_a_token_belongs_to_the_pods_user_alone(node: AgentCluster) -> None:
    script = "cd /var/run/secrets/kubernetes.io/serviceaccount; stat -Lc '%u %a' token; stat -Lc %a ca.crt"
    spec = {"automountServiceAccountToken": True, "securityContext": {"runAsUser": 1234}}
    node.run(pod(script, **spec))
    assert node.log() == "1234 600\n644\n"


def test_the_token_opens_the_api(node: AgentCluster) -> None:
    found = node.run(
        pod("cat /var/run/secrets/kubernetes.io/serviceaccount/token", automountServiceAccountToken=True)
    )
    token = node.log()
    code, answer = node.api.call(
        "POST",
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
        token=token,
    )
    assert code == 201, answer
    info = answer["status"]["userInfo"]
    assert info["username"] == f"system:serviceaccount:{node.namespace}:default"
    assert info["extra"]["authentication.kubernetes.io/pod-uid"] == [found["metadata"]["uid"]]


def test_too_much_disk_evicts_the_pod(node: AgentCluster) -> None:
    main = mounted("head -c 20000000 /dev/zero > /e/big; sleep 600", "e")
    volumes = [{"name": "e", "emptyDir": {"sizeLimit": "10Mi"}}]
    found = node.run(pod(main, volumes=volumes))
    status = found["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "Evicted")
    assert status["message"] == 'Usage of EmptyDir volume "e" exceeds the limit "10Mi". '
    target = next(c for c in status["conditions"] if c["type"] == "DisruptionTarget")
    assert (target["status"], target["reason"]) == ("True", "TerminationByKubelet")
    assert ("Evicted", status["message"]) in node.events()


def test_too_much_written_to_the_layer_evicts_the_pod(node: AgentCluster) -> None:
    limits = {"limits": {"ephemeral-storage": "5Mi"}}
    found = node.run(pod(shell("head -c 20000000 /dev/zero > /big; sleep 600", resources=limits)))
    assert found["status"]["reason"] == "Evicted"
    assert (
        found["status"]["message"]
        == "Pod ephemeral local storage usage exceeds the total limit of containers 5Mi. "
    )


def test_memory_volumes_are_full_when_full(node: AgentCluster) -> None:
    volumes = [{"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]
    node.run(pod(mounted("head -c 2000000 /dev/zero > /m/f || echo full", "m"), volumes=volumes))
    assert "full" in node.log()


def test_an_image_as_a_volume(node: AgentCluster) -> None:
    volumes = [{"name": "i", "image": {"reference": "localhost/bb:1", "pullPolicy": "IfNotPresent"}}]
    node.run(
        pod(mounted("ls /i/bin/busybox; touch /i/x 2>/dev/null || echo read-only", "i"), volumes=volumes)
    )
    assert node.log() == "/i/bin/busybox\nread-only\n"
