"""What a kubeconfig becomes in a connection, and the shapes of the connection itself."""

from __future__ import annotations

import base64
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from podbay.airflow.connection import choose_cluster
from podbay.connections.entry import ConnectionEntry, read_entries, read_variable, variable_of
from podbay.connections.portable import token_end
from podbay.connections.reading import read_kubeconfig
from podbay.errors import InvalidInputError
from podbay.kube.config import ExecPlugin, SecretText, StaticToken
from podbay.kube.kubeconfig_text import kubeconfig_of

PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
V1ALPHA1 = "client.authentication.k8s.io/v1alpha1"


def kubeconfig(user: dict[str, Any], **cluster: Any) -> dict[str, Any]:
    return {
        "clusters": [{"name": "c", "cluster": {"server": "https://c:6443", **cluster}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [
            {"name": name, "context": {"cluster": "c", "user": "u", "namespace": "team"}}
            for name in ("arn:aws:eks:us-east-1:111122223333:cluster/gpu-cluster", "other")
        ],
        "current-context": "other",
    }


def write(directory: Path, document: dict[str, Any]) -> str:
    file = directory / "config"
    file.write_text(yaml.safe_dump(document))
    return str(file)


def test_files_are_read_into_it(tmp_path: Path) -> None:
    for name in ("ca.crt", "user.crt", "user.key"):
        (tmp_path / name).write_text(PEM.replace("AAAA", name.encode().hex()))
    (tmp_path / "token").write_text("hunter2\n")
    user = {"client-certificate": "user.crt", "client-key": "user.key", "tokenFile": "token"}
    found = read_kubeconfig(write(tmp_path, kubeconfig(user, **{"certificate-authority": "ca.crt"})))
    text = kubeconfig_of(found.config, name="x", compact=True)
    assert str(tmp_path) not in text
    for name in ("ca.crt", "user.crt", "user.key", "token"):
        (tmp_path / name).unlink()
    choice = choose_cluster({}, {"kube_config": text}, connection="k")
    assert choice.config.credential == StaticToken(SecretText("hunter2"))
    assert choice.config.ca_pem == PEM.replace("AAAA", b"ca.crt".hex())
    assert choice.config.certificate is not None
    assert choice.config.certificate.key_pem.reveal() == PEM.replace("AAAA", b"user.key".hex())
    assert any("a copy of a file" in each for each in found.notes)


def test_a_token_says_when_it_ends(tmp_path: Path) -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": 1798761600}).encode()).decode().rstrip("=")
    found = read_kubeconfig(write(tmp_path, kubeconfig({"token": f"eyJ.{claims}.x"})))
    assert any("ends at 2027-01-01 00:00 UTC" in each for each in found.notes)
    for other in (
        "opaque",
        "a.b.c",
        f"a.{base64.urlsafe_b64encode(b'[]').decode()}.c",
        "a.!.c",
        "k8s-aws-v1.x",
    ):
        assert token_end(other) is None


def test_the_plugin_of_the_aws_documentation(tmp_path: Path) -> None:
    plugin = {"apiVersion": V1ALPHA1, "command": "aws", "args": ["--region", "us-east-1"]}
    found = read_kubeconfig(write(tmp_path, kubeconfig({"exec": plugin})))
    credential = found.config.credential
    assert isinstance(credential, ExecPlugin)
    assert credential.api_version == "client.authentication.k8s.io/v1beta1"
    assert [each for each in found.notes if "v1alpha1" in each]
    assert [each for each in found.notes if "program aws on the PATH" in each]
    written = json.loads(kubeconfig_of(found.config, name="x"))
    assert V1ALPHA1 not in json.dumps(written)
    assert written["users"][0]["user"]["exec"]["args"] == ["--region", "us-east-1"]


def test_a_context_that_is_chosen_keeps_its_name(tmp_path: Path) -> None:
    name = "arn:aws:eks:us-east-1:111122223333:cluster/gpu-cluster"
    found = read_kubeconfig(write(tmp_path, kubeconfig({"token": "t"})), context=name)
    text = kubeconfig_of(found.config, name=found.config.context)
    given = {"cluster_context": name, "in_cluster": False}
    assert choose_cluster(given, {"kube_config": text}, connection="k").config.context == name


@pytest.mark.parametrize(
    ("user", "cluster", "said"),
    [
        ({"exec": {"apiVersion": V1ALPHA1, "command": "./bin/aws"}}, {}, r"exec\.command: '\./bin/aws' counts from"),
        ({"token": "t", "exec": {"apiVersion": V1ALPHA1, "command": "x"}}, {}, "token and exec are two ways to log in"),
        ({"token": "t", "username": "u", "password": "p"}, {}, "token and username are two ways"),
        ({"tokenFile": "absent"}, {}, "tokenFile: .*absent does not exist"),
        ({"token": "t"}, {"certificate-authority": "absent.crt"}, r"certificate-authority: .*absent\.crt does not exist"),
        ({"token": "t"}, {"certificate-authority": "config"}, "config is not a PEM text"),
        ({}, {}, "no credential"),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_is_refused(
    tmp_path: Path, user: dict[str, Any], cluster: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        read_kubeconfig(write(tmp_path, kubeconfig(user, **cluster)))


def test_a_context_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInputError, match=r"context 'gpu' does not exist\. It has: arn:aws:eks:.*, other"
    ):
        read_kubeconfig(write(tmp_path, kubeconfig({"token": "t"})), context="gpu")


def test_relative_paths_from_stdin_lead_nowhere() -> None:
    text = yaml.safe_dump(kubeconfig({"token": "t"}, **{"certificate-authority": "ca.crt"}))
    with pytest.raises(
        InvalidInputError,
        match=r"stdin: clusters\[c\]\.cluster\.certificate-authority: ca\.crt is a relative path",
    ):
        read_kubeconfig("-", text=text)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInputError, match=r"token cannot be read"):
        read_kubeconfig(write(tmp_path, kubeconfig({"tokenFile": "token"})))


def test_the_shapes_of_an_entry_read_back() -> None:
    entry = ConnectionEntry("k8s", {"kube_config": '{"a": "it\'s"}', "namespace": "team"}, "Cluster x")
    name, _, value = entry.environment_line().partition("=")
    (plain,) = shlex.split(value)
    assert name == variable_of("k8s") == "AIRFLOW_CONN_K8S"
    assert read_variable("k8s", plain).extra == entry.extra
    assert read_entries(entry.import_file(), "f") == [entry]
    assert json.loads(entry.rest_body()["extra"]) == entry.extra
    assert "it's" not in repr(entry)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kubernetes://?extra", "is not JSON"),
        ('{"conn_type": "aws"}', "is of type 'aws'"),
        ('{"conn_type": "kubernetes", "extra": "secret-word"}', "extra of connection k is not JSON"),
        ('{"conn_type": "kubernetes", "extra": [1]}', "must be a JSON object"),
    ],
)
def test_a_wrong_variable_is_told(text: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said) as raised:
        read_variable("k", text)
    assert "secret-word" not in str(raised.value)


def test_a_wrong_file_is_told() -> None:
    for text, said in (
        ("[]", "not a JSON object"),
        ("{}", "expected connections by name"),
        ("{", "not JSON"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            read_entries(text, "connections.json")
    for name in ("", "a b", "a/b"):
        with pytest.raises(InvalidInputError, match="letters, digits"):
            ConnectionEntry(name, {})
    with pytest.raises(InvalidInputError, match="--airflow-url"):
        variable_of("my-cluster")
