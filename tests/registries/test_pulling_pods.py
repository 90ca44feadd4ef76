"""Pods on the embedded cluster whose images take a login: by service account, and by a credential provider that rotates."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images
import pytest
from cloud_parts import PROVIDER
from patience import until

import registries
from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.containers import runtime_available
from podbay.embedded.nodes import container_nodes
from podbay.node.credential_providers import load_providers
from podbay.testing import Environment
from podbay.testing.requests import Requests
from registries import PASSWORD, USER

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(not registries.has_registry(), reason="needs docker-registry and htpasswd"),
    pytest.mark.skipif(not runtime_available(), reason="needs root, runc and conmon"),
]


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    directory = tmp_path_factory.mktemp("closed")
    with registries.docker_registry(directory, auth=True) as address:
        for path in ("team/bb", "provided/bb", "provided/two"):
            registries.push(address, path, "1", *images.busybox().manifest())
        yield address, directory


@pytest.fixture(scope="module")
def cluster(
    closed: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Requests, Path]]:
    directory = tmp_path_factory.mktemp("providers")
    program = directory / "rotating"
    program.write_text(PROVIDER.format(python=sys.executable, user=USER))
    program.chmod(0o755)
    (directory / "password").write_text("of-yesterday")
    provider = {
        "name": "rotating",
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "matchImages": [f"{closed[0]}/provided"],
        "defaultCacheDuration": "0",
    }
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1",
        "kind": "CredentialProviderConfig",
        "providers": [provider],
    }
    (directory / "config.yaml").write_text(json.dumps(config))
    nodes = container_nodes(runtime="runc", providers=load_providers(directory / "config.yaml", directory))
    with (
        Environment.start(ClusterOptions(nodes=nodes)) as environment,
        Requests(environment.kubeconfig) as api,
    ):
        api.create_namespace("n")
        yield api, directory


def run_pod(api: Requests, name: str, image: str, **spec: Any) -> None:
    container = {"name": "base", "image": image, "imagePullPolicy": "Always", "command": ["true"]}
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "containers": [container], **spec},
    }
    code, answer = api.call("POST", "/api/v1/namespaces/n/pods", body)
    assert code == 201, answer


def status(api: Requests, name: str) -> dict[str, Any]:
    return dict(api.call("GET", f"/api/v1/namespaces/n/pods/{name}")[1]["status"])


def waiting(api: Requests, name: str) -> dict[str, Any]:
    found = (status(api, name).get("containerStatuses") or [{}])[0].get("state") or {}
    return dict(found.get("waiting") or {})


def test_by_the_service_account(cluster: tuple[Requests, Path], closed: tuple[str, Path]) -> None:
    api, _ = cluster
    image = f"{closed[0]}/team/bb:1"
    run_pod(api, "nobody", image)
    until(
        lambda: waiting(api, "nobody").get("reason") in ("ErrImagePull", "ImagePullBackOff"),
        tell=lambda: status(api, "nobody"),
    )
    auths = {
        closed[0]: {"auth": base64.b64encode(f"{USER}:wrong".encode()).decode()},
        f"{closed[0]}/team": {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()},
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": "login"},
        "data": {".dockerconfigjson": base64.b64encode(json.dumps({"auths": auths}).encode()).decode()},
    }
    assert api.call("POST", "/api/v1/namespaces/n/secrets", secret)[0] == 201
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "tasks"},
        "imagePullSecrets": [{"name": "login"}],
    }
    assert api.call("POST", "/api/v1/namespaces/n/serviceaccounts", account)[0] == 201
    run_pod(api, "tasks", image, serviceAccountName="tasks")
    until(lambda: status(api, "tasks").get("phase") == "Succeeded", tell=lambda: status(api, "tasks"))


def test_a_provider_whose_token_rotates(cluster: tuple[Requests, Path], closed: tuple[str, Path]) -> None:
    api, directory = cluster
    run_pod(api, "rotated", f"{closed[0]}/provided/bb:1")
    until(
        lambda: waiting(api, "rotated").get("reason") == "ImagePullBackOff",
        tell=lambda: status(api, "rotated"),
    )
    (directory / "password").write_text(PASSWORD)
    until(lambda: status(api, "rotated").get("phase") == "Succeeded", tell=lambda: status(api, "rotated"))
    # The registry's password changes between two pulls, and the provider knows the new one.
    changed = subprocess.run(
        ["htpasswd", "-nbB", USER, "another-word"], capture_output=True, text=True, check=True
    )
    path = closed[1] / "htpasswd"
    before = path.read_text()
    try:
        path.write_text(changed.stdout.strip() + "\n")
        (directory / "password").write_text("another-word")
        run_pod(api, "again", f"{closed[0]}/provided/two:1")
        until(lambda: status(api, "again").get("phase") == "Succeeded", tell=lambda: status(api, "again"))
    finally:
        path.write_text(before)


def test_a_provider_that_fails_is_named(cluster: tuple[Requests, Path], closed: tuple[str, Path]) -> None:
    api, directory = cluster
    (directory / "password").unlink()
    run_pod(api, "unprovided", f"{closed[0]}/provided/bb:1")

    def message() -> str:
        return str(waiting(api, "unprovided").get("message") or "")

    until(
        lambda: "credential provider rotating exited with 1" in message(),
        tell=lambda: status(api, "unprovided"),
    )
