"""`podbay registry` as people run it: against a real registry and a cluster; passwords by stdin only, and never shown."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import images
import pytest
from moto.server import ThreadedMotoServer
from registry_parts import FOREIGN, SMALL, Shelf
from self_signed import Authority

import registries
from podbay.testing import Environment
from registries import PASSWORD, USER, free_address

pytestmark = pytest.mark.slow

PROGRAM = Path(sys.executable).with_name("podbay")
ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"


@dataclass
class Desk:
    """A directory with a podbay.yaml that is applied."""

    directory: Path
    environment: dict[str, str]

    @property
    def file(self) -> Path:
        return self.directory / "podbay.yaml"

    def __call__(self, *words: str, code: int = 0, stdin: str = "") -> str:
        done = subprocess.run(
            [str(PROGRAM), *words],
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=self.directory,
            timeout=120,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == code, said
        assert PASSWORD not in said
        assert "Traceback" not in said
        return said

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "-o", "json"))


@pytest.fixture
def desk(podbay_cluster: Environment, tmp_path: Path) -> Iterator[Desk]:
    namespace = f"etl-{random.randrange(10**9)}"
    (tmp_path / "podbay.yaml").write_text(f"# mine\nversion: 1\nname: etl\nnamespace: {namespace}\n")
    made = Desk(
        tmp_path,
        {
            "HOME": str(tmp_path),
            "PODBAY_HOME": str(tmp_path / "podbay"),
            "PODBAY_CLUSTER": str(podbay_cluster.kubeconfig),
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": os.environ.get("PYTHONDONTWRITEBYTECODE", ""),
        },
    )
    made("apply", "--yes")
    yield made
    made("destroy", "--yes")


def test_from_the_first_login_to_its_end(desk: Desk, locked: str, authority: Authority, shelf: Shelf) -> None:
    trust = ("--ca-file", str(authority.certificate))
    said = desk("registry", "add", locked, "-u", USER, *trust, stdin="wrong\n", code=1)
    assert f"{locked} refuses user {USER}: wrong user name or password" in said
    assert "No login yet" in desk("registry", "list")
    image = f"{locked}/team/small:1.2"
    said = desk("registry", "add", locked, "-u", USER, "--image", image, *trust, stdin=f"{PASSWORD}\n")
    name = f"registry-{locked.replace('.', '-').replace(':', '-')}"
    assert f"Secret {name} is made." in said
    assert f"pull_secrets: [{name}]" in desk.file.read_text()
    (row,) = desk.json("registry", "list")
    assert (row["registries"], row["users"], row["in_file"]) == (locked, USER, True)
    assert "ServiceAccount" in desk("plan")
    desk("apply", "--yes")
    # An image of another registry would carry the password there.
    other = ("--image", f"{shelf.address}/team/small:1.2")
    said = desk("registry", "add", locked, "-u", USER, *other, *trust, stdin=PASSWORD, code=1)
    assert f"is not at {locked}; name an image that this login is for" in said
    # A wrong password does not take the place of the right one.
    desk("registry", "add", locked, "-u", USER, *trust, stdin="wrong", code=1)
    said = desk("registry", "test", *trust, "--image", image)
    assert "the login is taken" in said
    assert f"{image}: ok: {shelf.digest}" in said
    said = desk("registry", "test", *trust, "--image", f"{locked}/team/small:9", code=1)
    assert "FAILED" in said
    assert "signed by nobody this machine trusts" in desk("registry", "test", code=1)
    found = desk.json("registry", "inspect", image, "--arch", images.ARCHITECTURE, *trust)
    assert (found["digest"], found["runs"], found["requests"]) == (shelf.digest, True, 4)
    assert desk.json("registry", "inspect", image, "--arch", images.ARCHITECTURE, *trust)["requests"] == 2
    said = desk(
        "registry", "inspect", f"{locked}/team/foreign:1", "--arch", images.ARCHITECTURE, *trust, code=1
    )
    assert "problem: " in said
    assert "--platform=linux/" in said
    pod = desk.directory / "pod.json"
    container = {"name": "base", "image": f"{shelf.address}/team/foreign:1"}
    sidecar = {"name": "side", "image": f"{shelf.address}/team/small:7"}
    pod.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "p"},
                "spec": {"containers": [container, sidecar]},
            }
        )
    )
    desk("check", str(pod))
    said = desk("check", str(pod), "--images", code=1)
    assert "spec.containers[0].image: " in said
    assert "is for linux/s390x; the nodes are linux/" in said
    assert "spec.containers[1].image: " in said
    assert "has no tag 7. Nearest: " in said
    assert f"Secret {name} is gone." in desk("registry", "rm", locked)
    assert name not in desk.file.read_text()
    assert "# mine" in desk.file.read_text()


def test_docker_s_logins(desk: Desk, locked: str, authority: Authority) -> None:
    trust = ("--ca-file", str(authority.certificate))
    config = desk.directory / "config.json"
    helper = desk.directory / "docker-credential-tests"
    helper.write_text(f'#!/bin/sh\nprintf \'{{"Username":"{USER}","Secret":"{PASSWORD}"}}\'\n')
    helper.chmod(0o755)
    config.write_text(json.dumps({"credHelpers": {locked: "tests"}}))
    said = desk("registry", "add", "ghcr.io", "--docker-config", str(config), code=1)
    assert "has no login for ghcr.io: docker login ghcr.io" in said
    nowhere = ("--docker-config", str(desk.directory / "nowhere.json"))
    assert "nowhere.json does not exist; `docker login` makes it" in desk(
        "registry", "add", "ghcr.io", *nowhere, code=1
    )
    desk("registry", "add", locked, "--docker-config", str(config), "--name", "mine", "--no-attach", *trust)
    (row,) = desk.json("registry", "list")
    assert (row["name"], row["source"], row["in_file"]) == ("mine", "docker-config", False)
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    config.write_text(json.dumps({"auths": {f"https://{locked}": {"auth": auth}}}))
    said = desk("registry", "inspect", f"{locked}/team/small:1.2", "--docker-config", str(config), *trust)
    assert "/bin/tool --help" in said
    assert "1000" in said


def test_pinning(desk: Desk, locked: str, authority: Authority, shelf: Shelf) -> None:
    trust = ("--ca-file", str(authority.certificate))
    assert "has no aliases to pin" in desk("registry", "pin", code=1)
    registries.push(shelf.address, "team/moving", "1", *SMALL.manifest())
    with desk.file.open("a") as file:
        file.write(f'images:\n  # of the team\n  tool: "{locked}/team/small:1.2"  # steady\n')
        file.write(f"  moves: {locked}/team/moving:1\n")
    assert f"{locked} gives nobody" in desk("registry", "pin", *trust, code=1)
    desk("registry", "add", locked, "-u", USER, *trust, stdin=PASSWORD)
    desk("registry", "pin", "--check", *trust, code=1)
    said = desk("registry", "pin", *trust)
    steady, moved = f"{locked}/team/small:1.2@{shelf.digest}", f"{locked}/team/moving:1@{shelf.digest}"
    assert f"tool: {steady} (was {locked}/team/small:1.2)" in said
    text = desk.file.read_text()
    assert f'  # of the team\n  tool: "{steady}"  # steady\n  moves: {moved}\n' in text
    assert f"moves: {moved} (as it was)" in desk("registry", "pin", "--check", *trust)
    # The tag goes to another image: pods keep the pinned one until somebody pins anew.
    digest = registries.push(shelf.address, "team/moving", "1", *FOREIGN.manifest())
    desk("registry", "pin", "tool", "--check", *trust)
    assert f"(was {moved})" in desk("registry", "pin", "--check", *trust, code=1)
    assert desk.file.read_text() == text
    desk("registry", "test", *trust)
    # A Secret by name: its login alone, and the images of the file by all that there is.
    desk("registry", "add", f"{locked}/open", "-u", USER, "--name", "other", *trust, stdin=PASSWORD)
    said = desk("registry", "test", "other", *trust)
    assert said.count("the login is taken") == 1
    assert f"{moved}: ok: {shelf.digest}" in said
    row = next(each for each in desk.json("registry", "pin", *trust) if each["alias"] == "moves")
    assert (row["image"], row["was"]) == (f"{locked}/team/moving:1@{digest}", moved)
    assert "b is not under images; there are: tool, moves" in desk("registry", "pin", "b", *trust, code=1)


def test_words_that_are_refused(desk: Desk) -> None:
    assert "by one of --username" in desk("registry", "add", "ghcr.io", code=1)
    assert "; here --cloud fits" in desk("registry", "add", ECR, code=1)
    assert "the password is empty" in desk("registry", "add", "ghcr.io", "-u", "x", code=1)
    assert "none of Amazon's, Google's and Azure's" in desk("registry", "add", "ghcr.io", "--cloud", code=1)
    nowhere = free_address()
    assert "nothing listens there" in desk("registry", "add", nowhere, "-u", "x", stdin="y", code=1)
    said = desk("registry", "add", nowhere, "-u", "x", "--unproven", stdin="y")
    assert "is made without a proof" in said
    assert "nothing listens there" in desk("registry", "test", code=1)
    assert "is not a cloud's; left as it is" in desk("registry", "refresh", "--once")


def test_ecr_from_a_laptop(desk: Desk) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    desk.environment |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "eu-central-1",
        # Nothing of this leaves the machine.
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
    }
    try:
        said = desk("registry", "add", ECR, "--cloud", "--unproven")
        assert "podbay registry refresh, or podbay registry cronjob" in said
        (row,) = desk.json("registry", "list")
        assert (row["source"], row["users"]) == ("ecr", "AWS")
        assert ": still fresh, ends " in desk("registry", "refresh", "--once")
        assert ": renewed, ends " in desk("registry", "refresh", "--once", "--force", "--unproven")
        # The registry itself is not to be reached from here: the old login stays.
        said = desk("registry", "refresh", "--once", "--force", code=1)
        assert "FAILED, what was there stays" in said
        listed = desk.json("registry", "cronjob", "--image", "podbay:1")["items"]
        assert [each["kind"] for each in listed] == [
            "Namespace",
            "ServiceAccount",
            "Role",
            "RoleBinding",
            "CronJob",
        ]
        assert listed[2]["rules"][0]["resourceNames"] == [row["name"]]
        assert listed[4]["spec"]["schedule"] == "17 */2 * * *"
        words = ("registry", "cronjob", "--image", "podbay:1", "--name")
        assert "has no Secret other with a cloud's login" in desk(*words, "other", code=1)
        wanted = ("--account", "210987654321", "--cluster-id", "abc")
        assert "ECR has no repository" in desk("registry", "policy", "ecr", "show", "desk/tool", code=1)
        ecr = boto3.client(
            "ecr",
            "eu-central-1",
            endpoint_url=f"http://{host}:{port}",
            aws_access_key_id="x",
            aws_secret_access_key="x",
        )
        ecr.create_repository(repositoryName="desk/tool")
        assert "It has no policy" in desk("registry", "policy", "ecr", "show", "desk/tool")
        assert "may not pull" in desk("registry", "policy", "ecr", "check", "desk/tool", *wanted, code=1)
        said = desk("registry", "policy", "ecr", "apply", f"{ECR}/desk/tool:1", *wanted, "--dry-run")
        assert said.startswith(
            "aws ecr set-repository-policy --registry-id 123456789012 --repository-name desk/tool"
        )
        desk("registry", "policy", "ecr", "apply", "desk/tool", *wanted)
        assert "nothing to do" in desk("registry", "policy", "ecr", "apply", "desk/tool", *wanted)
        assert "EKS-NodeInstanceRole-abc may pull" in desk(
            "registry", "policy", "ecr", "check", "desk/tool", *wanted
        )
        # A name of its own: all of moto's servers in a process share what there is.
        assert "IAM has no role" in desk("aws", "node-role", "absent-node", "--dry-run", code=1)
    finally:
        server.stop()
