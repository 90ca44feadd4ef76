"""Names, docker's config.json, credential helpers and podbay.yaml entries."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from podbay.deployment.reading import parse_deployment
from podbay.errors import CredentialError, InvalidInputError
from podbay.kube.config import SecretText
from podbay.registries.challenge import read_challenges
from podbay.registries.credential_helper import ask_helper, login_of
from podbay.registries.file_entry import with_pull_secret, with_secret_for_images, without_pull_secret
from podbay.registries.image_name import parse_image_name, registry_host
from podbay.registries.logins import KeyedLogin, Login, fitting, parse_docker_config, to_docker_config

WORD = "hidden-word-4711"


@pytest.mark.parametrize(
    ("text", "read", "host"),
    [
        ("busybox", "docker.io/library/busybox:latest", "registry-1.docker.io"),
        ("team/tool:2", "docker.io/team/tool:2", "registry-1.docker.io"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest", "registry-1.docker.io"),
        ("localhost/x", "localhost/x:latest", "localhost"),
        ("127.0.0.1:5000/a/b:1", "127.0.0.1:5000/a/b:1", "127.0.0.1:5000"),
        (f"ghcr.io/a/b:1@sha256:{'a' * 64}", f"ghcr.io/a/b:1@sha256:{'a' * 64}", "ghcr.io"),
        (f"ghcr.io/a/b@sha256:{'a' * 64}", f"ghcr.io/a/b@sha256:{'a' * 64}", "ghcr.io"),
    ],
)
def test_image_names(text: str, read: str, host: str) -> None:
    name = parse_image_name(text)
    assert (str(name), name.host) == (read, host)
    assert parse_image_name(str(name)) == name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ghcr.io/Team/x", "must be in lower case: team/x"),
        ("ghcr.io/x:a b", "not an image name"),
        ("", "not an image name"),
        ("x@sha256:12", "not a digest"),
        ("https://ghcr.io/x", "not an image name"),
    ],
)
def test_image_names_that_are_none(text: str, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        parse_image_name(text)


def test_registries_by_their_names() -> None:
    assert registry_host("https://index.docker.io/v1/") == ("docker.io", "")
    assert registry_host("docker.io/team") == ("docker.io", "team")
    assert registry_host("https://reg.example:5000/v2/") == ("reg.example:5000", "")
    assert registry_host("ghcr.io/team") == ("ghcr.io", "team")
    with pytest.raises(InvalidInputError):
        registry_host("no such host")


def test_challenges() -> None:
    found = read_challenges(
        'Bearer realm="https://a/t?x=1,2",service="s \\"q\\"", Basic realm=plain, Negotiate'
    )
    assert [each.scheme for each in found] == ["bearer", "basic", "negotiate"]
    assert found[0].parameters == {"realm": "https://a/t?x=1,2", "service": 's "q"'}
    assert found[1].parameters == {"realm": "plain"}
    assert read_challenges("") == []


def entry(user: str, password: str = WORD) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_a_docker_config_and_what_kubelets_get() -> None:
    auths: dict[str, Any] = {
        "https://index.docker.io/v1/": entry("hub"),
        "reg.example/team": entry("team"),
        "reg.example": {"username": "all", "password": WORD},
        "corp.azurecr.io": {
            "auth": entry("00000000-0000-0000-0000-000000000000", "")["auth"],
            "identitytoken": WORD,
        },
        "stored.example": {},
    }
    config = parse_docker_config(json.dumps({"auths": auths, "credsStore": "desktop"}), "config.json")
    assert WORD not in repr(config)
    assert config.stored == ("stored.example",)
    image = parse_image_name("reg.example/team/x")
    assert [each.username for each in fitting(config.logins, image)] == ["team", "all"]
    assert [each.username for each in fitting(config.logins, parse_image_name("busybox"))] == ["hub"]
    written = json.loads(to_docker_config(config.logins))["auths"]
    assert sorted(written) == [
        "corp.azurecr.io",
        "https://index.docker.io/v1/",
        "reg.example",
        "reg.example/team",
    ]
    azure = written["corp.azurecr.io"]
    assert (azure["username"], azure["password"]) == ("00000000-0000-0000-0000-000000000000", WORD)
    with pytest.raises(InvalidInputError, match="nodes cannot use") as caught:
        to_docker_config([KeyedLogin("reg.example", "", Login(identity_token=SecretText(WORD)))])
    assert WORD not in str(caught.value)


def test_what_cannot_be_a_login_is_not_written_down() -> None:
    with pytest.raises(InvalidInputError, match="there is no login to write down"):
        to_docker_config([])
    odd = b"hidden-\xff".decode("utf-8", "surrogateescape")
    for login in (Login("u", SecretText(odd)), Login(odd, SecretText(WORD))):
        with pytest.raises(
            InvalidInputError, match=r"reg\.example/team: user name or password is no UTF-8"
        ) as caught:
            to_docker_config([KeyedLogin("reg.example", "team", login)])
        assert "hidden-" not in str(caught.value)


def test_logins_for_many_hosts_as_kubelets_read_them() -> None:
    auths = {"*.corp.example": entry("all"), "reg.*:5000": entry("port"), "reg.example": entry("one")}
    logins = parse_docker_config(json.dumps({"auths": auths}), "Secret x").logins

    def users(image: str) -> list[str]:
        return [each.username for each in fitting(logins, parse_image_name(image))]

    assert users("a.corp.example/x") == ["all"]
    assert users("a.b.corp.example/x") == []
    assert users("reg.example:5000/x") == ["port"]
    assert users("reg.example/x") == ["one"]
    assert [each.is_pattern for each in logins] == [True, True, False]
    assert parse_docker_config(to_docker_config(logins), "Secret x").logins == logins
    with pytest.raises(InvalidInputError, match="write its host"):
        registry_host("*.corp.example")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "an object is expected"),
        ("{", "not JSON"),
        ('{"auths": []}{', "not JSON"),
        ('{"auths": {"a.example": 1}}', r"auths\.a\.example: an object"),
        ('{"auths": {"a.example": {"auth": "%%"}}}', r"auth: not base64"),
        ('{"credHelpers": {"a.example": "../../bin/sh"}}', "not the name of a credential helper"),
    ],
)
def test_docker_configs_that_are_none(text: str, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        parse_docker_config(text, "config.json")


# Credential helpers: programs.


def helper(directory: Path, script: str, name: str = "tests") -> dict[str, str]:
    path = directory / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}"}


async def test_a_helper_is_asked_for_its_registry(tmp_path: Path) -> None:
    script = (
        f'read key; [ "$1 $key" = "get corp.example" ] && printf \'{{"Username":"u","Secret":"{WORD}"}}\''
    )
    environ = helper(tmp_path, script)
    config = parse_docker_config('{"credHelpers": {"corp.example": "tests"}}', "config.json")
    (found,) = await login_of(config, "corp.example", environ)
    assert (found.login.username, found.login.password.reveal()) == ("u", WORD)
    assert await login_of(config, "other.example", environ) == []


async def test_a_store_that_knows_nothing(tmp_path: Path) -> None:
    environ = helper(tmp_path, "echo credentials not found in native keychain; exit 1")
    config = parse_docker_config('{"credsStore": "tests"}', "config.json")
    assert await login_of(config, "docker.io", environ) == []


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("sleep 1000 & sleep 1000", "gave no answer for r.example within 0 s and was ended"),
        (f"echo {WORD}", "that are not {Username, Secret}"),
        ('echo \'{"Username": "u", "Secret": ""}\'', "empty secret for r.example; log in again"),
        (f'echo \'{{"Secret": "{WORD}"}}\'; exit 3', "exited with 3 when asked for r.example$"),
        ("echo the keychain is locked >&2; exit 1", "the keychain is locked"),
    ],
)
async def test_helpers_that_fail(tmp_path: Path, script: str, words: str) -> None:
    with pytest.raises(CredentialError, match=words) as caught:
        await ask_helper(
            "tests", "r.example", environ=helper(tmp_path, script), seconds=0.4 if "sleep" in script else 60
        )
    assert WORD not in str(caught.value)


async def test_a_helper_that_is_not_there() -> None:
    with pytest.raises(CredentialError, match="docker-credential-nowhere is not on PATH"):
        await ask_helper("nowhere", "r.example")


# podbay.yaml

HEAD = "# mine\nversion: 1\nname: etl\nnamespace: n-1\n"


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "secrets: []  # none\n",
        "pods:\n  # sizes\n  keep: always  # yes\nquota: {cpu: 1}\n",
        "pods:\n    pull_secrets: [one]  # first\n    keep: always\n",
        "pods:\n  keep: always\n  pull_secrets:\n    - one  # first\n\nquota: {cpu: 1}\n",
        "pods:\n  keep: always\n  pull_secrets:\n  - one\n  - two",
    ],
)
def test_the_file_names_a_secret_and_forgets_it(rest: str) -> None:
    before = parse_deployment(HEAD + rest)
    added = with_pull_secret(HEAD + rest, "registry-x")
    after = parse_deployment(added)
    assert after.pods.pull_secrets == (*before.pods.pull_secrets, "registry-x")
    assert after.pods.keep == before.pods.keep
    for comment in ("# mine", "# none", "# sizes", "# yes", "# first"):
        assert (comment in added) == (comment in HEAD + rest)
    removed = without_pull_secret(added, "registry-x")
    assert parse_deployment(removed).pods == before.pods
    for one in before.pods.pull_secrets:
        removed = without_pull_secret(removed, one)
    assert parse_deployment(removed).pods.pull_secrets == ()


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "pods:\n  # sizes\n  keep: always  # yes\nquota: {cpu: 1}\n",
        'pods:\n  pull_secrets_by_image:\n    "ghcr.io/a/*": [one]  # first\n  keep: always\n',
        'pods:\n  pull_secrets_by_image:\n    "ghcr.io/team/*": [one]  # first\n',
        "pods:\n  pull_secrets: [two]\n  pull_secrets_by_image:\n    ghcr.io/team/*:\n      - one  # first\n\nquota: {cpu: 1}\n",
    ],
)
def test_the_file_names_a_secret_for_images_and_forgets_it(rest: str) -> None:
    before = parse_deployment(HEAD + rest).pods
    added = with_secret_for_images(HEAD + rest, "registry-x", "ghcr.io/team/*")
    after = parse_deployment(added).pods
    there = before.pull_secrets_by_image.get("ghcr.io/team/*", ())
    wanted = {**before.pull_secrets_by_image, "ghcr.io/team/*": (*there, "registry-x")}
    assert after.pull_secrets_by_image == wanted
    assert (after.pull_secrets, after.keep) == (before.pull_secrets, before.keep)
    for comment in ("# mine", "# sizes", "# yes", "# first"):
        assert (comment in added) == (comment in HEAD + rest)
    # In both places at once.
    both = with_pull_secret(added, "registry-x")
    assert parse_deployment(without_pull_secret(both, "registry-x")).pods.all_pull_secrets == (
        before.all_pull_secrets
    )


def test_a_comment_stays_above_what_it_is_about() -> None:
    text = HEAD + "pods:\n  # Of containers\n  # that say nothing.\n  default: {cpu: 1}\n"
    kept = "  # Of containers\n  # that say nothing.\n  default: {cpu: 1}\n"
    assert with_pull_secret(text, "x") == HEAD + "pods:\n  pull_secrets: [x]\n" + kept
    by_image = '  pull_secrets_by_image:\n    "a.b/*": [x]\n'
    assert with_secret_for_images(text, "x", "a.b/*") == HEAD + "pods:\n" + by_image + kept


def test_a_file_of_one_line_is_left_to_its_owner() -> None:
    with pytest.raises(InvalidInputError, match=r"add `x` under pods\.pull_secrets yourself"):
        with_pull_secret(HEAD + "pods: {keep: always}\n", "x")
    words = r'add `"a.b/\*": \[x\]` under pods\.pull_secrets_by_image yourself'
    for rest in ("pods: {keep: always}\n", "pods:\n  pull_secrets_by_image: {}\n"):
        with pytest.raises(InvalidInputError, match=words):
            with_secret_for_images(HEAD + rest, "x", "a.b/*")
