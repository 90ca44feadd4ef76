"""From options to a pod, by `podbay render`: no cluster is there, and none is asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from podbay_shell import Shell

from podbay.cli.pod_request import pod_request, readable_name
from podbay.cli.pod_words import PodWords
from podbay.errors import InvalidInputError
from podbay.pods.build import build_pod


def container(words: PodWords, command: Sequence[str] = (), **environ: str) -> dict[str, Any]:
    pod = build_pod(pod_request(words, command, namespace=None, environ=environ))
    found: dict[str, Any] = pod["spec"]["containers"][0]
    return {**found, "volumes": pod["spec"].get("volumes", [])}


def refusal(**words: Any) -> str:
    with pytest.raises(InvalidInputError) as caught:
        build_pod(pod_request(PodWords(**{"image": "bb", **words}), (), namespace=None, environ={}))
    return str(caught.value)


@pytest.mark.parametrize(
    ("words", "resources"),
    [
        ({"cpu": "500m"}, {"requests": {"cpu": "500m"}, "limits": {"cpu": "500m"}}),
        ({"cpu": "500m:2"}, {"requests": {"cpu": "500m"}, "limits": {"cpu": "2"}}),
        ({"memory": "1Gi:"}, {"requests": {"memory": "1Gi"}}),
        ({"memory": ":1Gi"}, {"limits": {"memory": "1Gi"}}),
        ({"gpu": "2"}, {"limits": {"nvidia.com/gpu": "2"}}),
        ({"gpu": "amd.com/gpu=1"}, {"limits": {"amd.com/gpu": "1"}}),
    ],
)
def test_sizes(words: dict[str, str], resources: dict[str, Any]) -> None:
    assert container(PodWords(image="bb", **words))["resources"] == resources


@pytest.mark.parametrize(
    ("word", "source", "mount"),
    [
        ("host:/srv:/data:ro", {"hostPath": {"path": "/srv"}}, {"mountPath": "/data", "readOnly": True}),
        ("pvc:big:/data", {"persistentVolumeClaim": {"claimName": "big"}}, {"mountPath": "/data"}),
        ("secret:db:/etc/db", {"secret": {"secretName": "db"}}, {"mountPath": "/etc/db"}),
        ("configmap:c:/etc/c", {"configMap": {"name": "c"}}, {"mountPath": "/etc/c"}),
        ("empty:/scratch", {"emptyDir": {}}, {"mountPath": "/scratch"}),
        ("empty:/scratch:1Gi", {"emptyDir": {"sizeLimit": "1Gi"}}, {"mountPath": "/scratch"}),
    ],
)
def test_mounts(word: str, source: dict[str, Any], mount: dict[str, Any]) -> None:
    found = container(PodWords(image="bb", mount=[word]))
    assert found["volumes"] == [{"name": "mount-0", **source}]
    assert found["volumeMounts"] == [{"name": "mount-0", **mount}]


@pytest.mark.parametrize(
    "word",
    [
        "",
        "data",
        "host:data:/x",
        "pvc:/data",
        "pvc:c:data",
        "pvc:c:/d:rw",
        "empty:x",
        "nfs:a:/b",
        "pvc:c:/d:ro:z",
    ],
)
def test_a_mount_that_is_none_says_how_to_write_one(word: str) -> None:
    assert refusal(mount=[word]).startswith(f"--mount {word}: write ")


def test_secrets_are_references() -> None:
    words = ["db", "db:password", "db:user=DB_USER", "tls=/etc/tls", "tls:ca.crt=/etc/ca"]
    found = container(PodWords(image="bb", secret=words))
    assert found["envFrom"] == [{"secretRef": {"name": "db"}}]
    assert found["env"] == [
        {"name": "password", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
        {"name": "DB_USER", "valueFrom": {"secretKeyRef": {"name": "db", "key": "user"}}},
    ]
    assert [mount["mountPath"] for mount in found["volumeMounts"]] == ["/etc/tls", "/etc/ca"]
    assert found["volumes"][1]["secret"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]


@pytest.mark.parametrize("word", ["", ":key", "db:", "db=VAR", "db:key="])
def test_a_secret_that_is_none(word: str) -> None:
    assert refusal(secret=[word]).startswith(f"--secret {word}: ")


def test_environment(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# of the job\nA=file\n\nB=x=y z\n")
    found = container(PodWords(image="bb", env=["A=1", "HERE"], env_from_file=[file]), HERE="mine")
    assert {each["name"]: each["value"] for each in found["env"]} == {"A": "1", "B": "x=y z", "HERE": "mine"}


def test_environment_that_is_wrong_never_shows_values(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("A=1\nhunter2\n")
    said = refusal(env_from_file=[file])
    assert said == f"--env-from-file {file}:2: expected NAME=VALUE"
    assert refusal(env=["GONE"]) == "--env GONE: not set in your environment. Write GONE=VALUE"
    assert "No such file" in refusal(env_from_file=[tmp_path / "none"])


def test_the_command_is_the_argument_or_the_entrypoint() -> None:
    assert container(PodWords(image="bb"), ["echo", "--", "-x"])["args"] == ["echo", "--", "-x"]
    found = container(PodWords(image="bb", replace_entrypoint=True), ["sh"])
    assert (found["command"], found.get("args")) == (["sh"], None)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("busybox", "busybox"),
        ("registry.example.com:5000/team/job:1.2", "job"),
        ("team/job@sha256:" + "0" * 64, "job"),
        ("", "pod"),
    ],
)
def test_a_name_is_made_of_the_image(image: str, name: str) -> None:
    assert readable_name(image) == name


def test_render_prints_what_kubectl_takes(shell: Shell, tmp_path: Path) -> None:
    printed = shell(
        "render",
        "bb:1",
        "--name",
        "job",
        "-n",
        "team",
        "-e",
        "A=1",
        "--label",
        "x=y",
        "--",
        "echo",
        "-n",
        "hi",
    )
    pod = yaml.safe_load(printed.out)
    assert (pod["kind"], pod["metadata"]["name"], pod["metadata"]["namespace"]) == ("Pod", "job", "team")
    assert pod["metadata"]["labels"] == {"x": "y"}
    assert pod["spec"]["containers"][0]["args"] == ["echo", "-n", "hi"]
    assert shell("render", "bb:1", "--name", "job", "-o", "json").json()["spec"]["restartPolicy"] == "Never"


def test_render_masks_unless_told(shell: Shell) -> None:
    arguments = ("render", "bb", "-e", "DB_PASSWORD=hunter2")
    assert "hunter2" not in shell(*arguments).out + shell(*arguments, "-o", "json").out
    assert "hunter2" in shell(*arguments, "--reveal").out


def test_a_template_lies_below(shell: Shell, tmp_path: Path) -> None:
    template = tmp_path / "pod.yaml"
    template.write_text(
        "spec:\n  serviceAccountName: builder\n  containers:\n    - {name: main, image: from-template, workingDir: /old}\n"
    )
    pod = shell("render", "--template", str(template), "--workdir", "/new", "-o", "json", "--", "ls").json()
    main = pod["spec"]["containers"][0]
    assert (main["image"], main["args"], main["workingDir"]) == ("from-template", ["ls"], "/new")
    assert pod["spec"]["serviceAccountName"] == "builder"
    assert (
        shell("render", "other", "--template", str(template), "-o", "json").json()["spec"]["containers"][0][
            "image"
        ]
        == "other"
    )
    template.write_text("spec:\n  nodeSelektor: {a: b}\n")
    assert (
        "line 2: spec.nodeSelektor: unknown field; did you mean nodeSelector?"
        in shell("render", "bb", "--template", str(template), code=1).err
    )


def test_usage_errors_say_what_to_write(shell: Shell) -> None:
    assert "after `--`" in shell("render", "bb", "echo", "hi", code=2).err
    assert "an image is missing" in shell.refused("render")
    assert "--label x: write NAME=VALUE" in shell.refused("render", "bb", "--label", "x")
    assert json.loads(shell("render", "bb", "-o", "json").out)["metadata"]["name"] == "bb"
