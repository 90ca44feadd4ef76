"""What a kubeconfig says, and messages for what is wrong with it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from podbay.errors import InvalidInputError
from podbay.kube.config import (
    Anonymous,
    BasicLogin,
    ClientCertificate,
    ClusterConfig,
    ExecPlugin,
    MintedToken,
    SecretText,
    StaticToken,
    TokenFile,
    TokenSource,
)
from podbay.kube.kubeconfig import in_cluster, load_kubeconfig, parse_kubeconfig

PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
B64 = base64.b64encode(PEM.encode()).decode()


def document(user: dict[str, Any] | None = None, **cluster: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443/", **cluster}}],
        "users": [{"name": "u", "user": {"token": "hunter2"} if user is None else user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
        "current-context": "x",
    }


def test_a_document_its_json_and_its_yaml_are_the_same() -> None:
    data = document()
    config = parse_kubeconfig(data)
    assert config == parse_kubeconfig(json.dumps(data)) == parse_kubeconfig(yaml.safe_dump(data))
    assert config.server == "https://10.0.0.1:6443"
    assert (config.namespace, config.context) == ("team", "x")
    assert config.credential == StaticToken(SecretText("hunter2"))


def test_secrets_are_masked() -> None:
    user = {"client-certificate-data": B64, "client-key-data": B64, "username": "joe", "password": "hunter2"}
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "p"}
    plugin["env"] = [{"name": "KEY", "value": "hunter2"}]  # type: ignore[assignment]
    for config in (
        parse_kubeconfig(document()),
        parse_kubeconfig(document(user)),
        parse_kubeconfig(document({"exec": plugin})),
        ClusterConfig(server="https://x", proxy_url="http://joe:hunter2@proxy"),
    ):
        shown = f"{config!r} {config} {config.credential!r}"
        assert "hunter2" not in shown
        assert "AAAA" not in shown
    assert str(SecretText("hunter2")) == "SecretText(***)"


def test_kinds_of_credentials(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    cases: list[tuple[dict[str, Any], object]] = [
        ({"tokenFile": "token", "token": "old"}, TokenFile(tmp_path / "token")),
        ({"username": "joe", "password": "pw"}, BasicLogin("joe", SecretText("pw"))),
        ({"client-certificate-data": B64, "client-key-data": B64}, Anonymous()),
    ]
    for user, expected in cases:
        assert parse_kubeconfig(document(user), base=tmp_path).credential == expected
    assert parse_kubeconfig(document(cases[2][0])).certificate == ClientCertificate(PEM, SecretText(PEM))


def test_an_exec_plugin(tmp_path: Path) -> None:
    user = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "command": "./bin/login",
            "args": ["--cluster", 7],
            "env": [{"name": "A", "value": "1"}],
            "installHint": "brew install login",
            "provideClusterInfo": True,
        }
    }
    found = parse_kubeconfig(document(user), base=tmp_path).credential
    assert isinstance(found, ExecPlugin)
    assert found.args == ("--cluster", "7")
    assert found.env == (("A", SecretText("1")),)
    assert (found.install_hint, found.directory) == ("brew install login", tmp_path)


def test_impersonation() -> None:
    user = {"token": "t", "as": "joe", "as-groups": ["a", "b"], "as-user-extra": {"scope": ["x"]}}
    who = parse_kubeconfig(document(user)).impersonation
    assert who is not None
    assert (who.user, who.groups, who.extra) == ("joe", ("a", "b"), (("scope", ("x",)),))


def wrong_context() -> dict[str, Any]:
    return {**document(), "current-context": "nope"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (wrong_context(), "context 'nope' does not exist. It has: x."),
        ({**document(), "current-context": ""}, "current-context is not set. It has: x."),
        ({}, "It has none."),
        ({**document(), "clusters": []}, "contexts[x].context.cluster: 'c' does not exist"),
        ({**document(), "users": []}, "contexts[x].context.user: 'u' does not exist"),
        ({**document(), "users": "joe"}, "users: expected a list"),
        (document({}), "users[u].user: no credential"),
        (document(server="ftp://x"), "clusters[c].cluster.server: 'ftp://x' is not an http"),
        (document(**{"certificate-authority-data": "!!"}), "certificate-authority-data: not base64 of a PEM"),
        (document(**{"certificate-authority": "/no/ca"}), "certificate-authority: /no/ca does not exist"),
        (document(**{"proxy-url": "socks5://x"}), "proxy-url: only http"),
        (document({"client-key-data": B64}), "needs both certificate and key"),
        (document({"auth-provider": {"name": "gcp"}}), "gke-gcloud-auth-plugin"),
        (document({"exec": {"command": "x", "apiVersion": "v7"}}), "exec.apiVersion: 'v7' is not one of"),
        (document({"exec": {"apiVersion": "v1"}}), "exec.command: required"),
    ],
)
def test_what_is_wrong_is_named(data: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_kubeconfig(data, origin="connection aws")
    assert words in str(caught.value)
    assert str(caught.value).startswith("connection aws")
    assert "hunter2" not in str(caught.value)


def test_text_that_is_no_yaml_is_not_quoted() -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_kubeconfig("users:\n- token: hunter2\n  x: [", origin="f")
    assert "line 3" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_files_are_merged_as_kubectl_does(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "first", tmp_path / "b" / "second"
    for path in (first, second):
        path.parent.mkdir()
        (path.parent / "tok").write_text(path.name)
    one = document({"tokenFile": "tok"})
    one["current-context"] = ""
    two = document({"tokenFile": "tok"})
    two["users"].append({"name": "v", "user": {"tokenFile": "tok"}})
    two["contexts"].append({"name": "y", "context": {"cluster": "c", "user": "v"}})
    two["current-context"] = "y"
    first.write_text(yaml.safe_dump(one))
    second.write_text(yaml.safe_dump(two))
    environ = {"KUBECONFIG": f"{first}:{tmp_path}/missing:{second}"}
    assert load_kubeconfig(environ=environ).credential == TokenFile(second.parent / "tok")
    assert load_kubeconfig(environ=environ, context="x").credential == TokenFile(first.parent / "tok")
    with pytest.raises(InvalidInputError, match="does not exist"):
        load_kubeconfig(environ={"HOME": str(tmp_path)})


def test_in_cluster(tmp_path: Path) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(InvalidInputError, match="does not run in a pod"):
        in_cluster(environ={}, directory=tmp_path)
    with pytest.raises(InvalidInputError, match="automountServiceAccountToken"):
        in_cluster(environ=environ, directory=tmp_path)
    for name in ("token", "ca.crt", "namespace"):
        (tmp_path / name).write_text(name)
    config = in_cluster(environ=environ, directory=tmp_path)
    assert config.server == "https://[fd00::1]:443"
    assert config.credential == TokenFile(tmp_path / "token")
    assert (config.namespace, config.ca_path) == ("namespace", tmp_path / "ca.crt")


def test_configurations_are_keys() -> None:
    async def mint() -> MintedToken:
        raise AssertionError

    async def other() -> MintedToken:
        raise AssertionError

    one = ClusterConfig(server="https://x", credential=TokenSource("eks/a", mint))
    assert len({one, ClusterConfig(server="https://x", credential=TokenSource("eks/a", other))}) == 1
    assert one != ClusterConfig(server="https://x", credential=TokenSource("eks/b", mint))
    assert hash(parse_kubeconfig(document())) == hash(parse_kubeconfig(document()))
