"""What a cluster refuses, or that it does not answer, is told with cause, fix and whose login it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from podbay_shell import Shell

from podbay.cli.cluster_words import in_words
from podbay.errors import ApiError, InvalidInputError, UnreachableError
from podbay.kube.config import ClusterConfig

CONFIG = ClusterConfig(server="https://api:6443", context="prod", origin="/home/me/config")
FORBIDDEN = (
    'pods is forbidden: User "weak" cannot list resource "pods" in API group "" in the namespace "etl"'
)


def test_a_right_that_is_missing() -> None:
    told = in_words(ApiError(403, "Forbidden", FORBIDDEN), CONFIG)
    assert isinstance(told, ApiError)
    assert told.code == 403
    assert str(told) == (
        'User "weak" may not list pods in namespace etl. Grant verb "list" on "pods" to "weak" with a Role and '
        "RoleBinding in namespace etl. What is missing in all: podbay doctor --cluster prod"
    )
    assert in_words(told) is told


def test_credentials_that_are_refused() -> None:
    told = in_words(ApiError(401, "Unauthorized", "Unauthorized"), CONFIG)
    assert str(told).startswith(
        "https://api:6443 (context prod of /home/me/config) refuses the credentials. Renew the credentials"
    )
    assert in_words(told) is told


def test_a_server_that_does_not_answer() -> None:
    told = in_words(UnreachableError("refused", "API server https://api:6443: no connection"), CONFIG)
    assert isinstance(told, UnreachableError)
    assert str(told) == (
        "API server https://api:6443: no connection (context prod of /home/me/config). Check that the cluster runs, and "
        "address, port and proxy in the kubeconfig."
    )
    assert in_words(told) is told


@pytest.mark.parametrize(
    "err",
    [
        ApiError(403, "Forbidden", 'pods "x" is forbidden: exceeded quota: q'),
        ApiError(404, "NotFound", 'pods "x" not found'),
        InvalidInputError("--cluster x"),
    ],
)
def test_others_say_themselves_what_is_wrong(err: Exception) -> None:
    assert in_words(err, CONFIG) is err  # type: ignore[arg-type]


def test_commands_say_so(shell: Shell, tmp_path: Path) -> None:
    shell.start()
    config = yaml.safe_load(shell.kubeconfig().read_text())
    server = config["clusters"][0]["cluster"]["server"]
    config["users"][0]["user"] = {"token": "bad"}
    bad = tmp_path / "bad.yaml"
    bad.write_text(yaml.safe_dump(config))
    said = f"{server} (context podbay of {bad})"
    assert f"{said} refuses the credentials. Renew" in shell.refused("pods", "--cluster", str(bad))
    assert f"It is {said}." in shell.refused("pod", "run", "bb", "--cluster", str(bad))
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    bad.write_text(yaml.safe_dump(config))
    assert f"(context podbay of {bad}). Check that the cluster runs" in shell.refused(
        "pods", "--cluster", str(bad)
    )
