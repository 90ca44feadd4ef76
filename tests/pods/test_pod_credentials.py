"""Credentials in plain text: found, named by their place, never quoted; what only speaks of one is left alone."""

from __future__ import annotations

from typing import Any

import pytest

from podbay.pods.credentials import plain_credentials

# Put together, so that no scanner of sources takes them for real ones.
KEY = "AKIA" + "ABCDEFGHIJKLMNOP"
GITHUB = "ghp_" + "a1B2" * 9
PEM = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE\n"
JWT = ".".join(["eyJhbGciOiJIUzI1", "eyJzdWIiOiIxMjM0", "SflKxwRJSMeKKF2QT4"])


def pod(**container: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "base", **container}]}}


def variable(name: str, value: str) -> dict[str, Any]:
    return pod(env=[{"name": "OTHER", "value": "x"}, {"name": name, "value": value}])


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("DB_PASSWORD", "hunter2", "a credential, by its name"),
        ("db.password", "hunter2", "a credential"),
        ("API_KEY", "0123456789", "a credential"),
        ("TOKEN2", "0123456789", "a credential"),
        ("AWS_SECRET_ACCESS_KEY", "abc/def", "a credential"),
        ("X", KEY, "an AWS access key"),
        ("X", f"use {GITHUB} here", "a GitHub token"),
        ("X", PEM, "a private key"),
        ("X", JWT, "a JSON Web Token"),
        ("DATABASE", "postgresql://me:hunter2@db/x", "a URL with a password"),
        ("REDIS", "redis://:hunter2@cache", "a URL with a password"),
    ],
)
def test_variables(name: str, value: str, kind: str) -> None:
    [problem] = plain_credentials(variable(name, value))
    assert problem.path == "spec.containers[0].env[1].value"
    assert problem.message.startswith(f"{name} is {kind}")
    assert value not in str(problem)
    assert "hunter2" not in str(problem)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PASSWORD", ""),
        ("PASSWORD", "{{ conn.db.password }}"),
        ("PASSWORD", "$(FROM_SECRET)"),
        ("PASSWORD_FILE", "secret.txt"),
        ("PASSWORD", "/run/secrets/password"),
        ("TOKEN_URL", "https://login.example/token"),
        ("SECRET_NAME", "db"),
        ("USE_TOKEN", "true"),
        ("AWS_SECRET", "arn:aws:secretsmanager:eu:1:secret:x"),
        ("URL", "https://example.com:8443/a@b"),
        ("URL", "postgresql://me:$(PASSWORD)@db"),
        ("URL", "postgresql://me:{{ conn.db.password }}@db"),
        ("KEYBOARD", "qwerty"),
    ],
)
def test_what_only_speaks_of_one(name: str, value: str) -> None:
    assert plain_credentials(variable(name, value)) == []


def test_references_are_the_way() -> None:
    source = {"secretKeyRef": {"name": "env-secrets", "key": "PASSWORD"}}
    assert plain_credentials(pod(env=[{"name": "PASSWORD", "valueFrom": source}])) == []


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["load", "--password=hunter2"], "args[1]"),
        (["load", "--api-key", "hunter2"], "args[2]"),
        (["sh", "-c", "curl https://me:hunter2@host"], "args[2]"),
        ([f"--key={KEY}"], "args[0]"),
    ],
)
def test_command_lines(words: list[str], place: str) -> None:
    [problem] = plain_credentials(pod(args=words))
    assert problem.path == f"spec.containers[0].{place}"
    assert "hunter2" not in problem.message
    assert KEY not in problem.message


@pytest.mark.parametrize(
    "words",
    [["--password"], ["--password", "--verbose"], ["--token=$TOKEN"], ["--token", "{{ t }}"], ["token", "x"]],
)
def test_command_lines_without_any(words: list[str]) -> None:
    assert plain_credentials(pod(command=words)) == []


def test_init_containers_are_looked_at_too() -> None:
    found = plain_credentials({"spec": {"initContainers": [{"env": [{"name": "PASSWORD", "value": "x"}]}]}})
    assert [each.path for each in found] == ["spec.initContainers[0].env[0].value"]
