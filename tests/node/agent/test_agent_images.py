"""Images for pods: pulled with the pod's credentials, or the reasons and events of a kubelet."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import images
import pytest
from agent_pods import AgentCluster, pod, state
from patience import PATIENCE

from podbay.node.images import puller
from registries import PASSWORD, USER, docker_registry, has_registry, push

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.usefixtures("namespace"),
    pytest.mark.skipif(not has_registry(), reason="needs docker-registry and htpasswd"),
]


@pytest.fixture(scope="module")
def open_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as address:
        manifest, blobs = images.busybox().manifest()
        push(address, "bb", "1", manifest, blobs)
        yield address


@pytest.fixture(scope="module")
def closed_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("registry"), auth=True) as address:
        yield address


def container(image: str, policy: str = "IfNotPresent") -> dict[str, object]:
    return {"name": "main", "image": image, "imagePullPolicy": policy, "command": ["true"]}


def test_a_pull_is_told_with_its_time_and_size(node: AgentCluster, open_registry: str) -> None:
    image = f"{open_registry}/bb:1"
    found = node.run(pod(container(image, "Always")))
    assert found["status"]["phase"] == "Succeeded"
    status = found["status"]["containerStatuses"][0]
    assert status["image"] == image
    assert status["imageID"].startswith(f"{open_registry}/bb@sha256:")
    texts = dict(node.events())
    assert texts["Pulling"] == f'Pulling image "{image}"'
    pattern = rf'Successfully pulled image "{image}" in \d+m?s \(\d+m?s including waiting\)\. Image size: \d+ bytes\.'
    assert re.fullmatch(pattern.replace(r"\d+m?s", r"[\d.]+m?s"), texts["Pulled"])


def test_an_image_that_does_not_exist_backs_off(node: AgentCluster, open_registry: str) -> None:
    image = f"{open_registry}/none:1"
    node.create(pod(container(image)))
    first = node.wait(lambda p: state(p)["waiting"]["reason"] == "ErrImagePull")
    message = state(first)["waiting"]["message"]
    assert "not found" in message
    second = node.wait(lambda p: state(p)["waiting"]["reason"] == "ImagePullBackOff")
    assert state(second)["waiting"]["message"] == f'Back-off pulling image "{image}": ErrImagePull: {message}'
    events = node.events()
    assert ("Failed", f'Failed to pull image "{image}": {message}') in events
    assert ("Failed", "Error: ErrImagePull") in events and ("Failed", "Error: ImagePullBackOff") in events
    assert ("BackOff", f'Back-off pulling image "{image}"') in events


def test_pull_secrets_open_a_closed_registry(node: AgentCluster, closed_registry: str) -> None:
    image = f"{closed_registry}/bb:1"
    node.create(pod(container(image), name="denied"))
    refused = node.wait(lambda p: state(p)["waiting"]["reason"] == "ErrImagePull", "denied")
    words = state(refused)["waiting"]["message"]
    assert "authorization failed" in words or "unauthorized" in words.lower() or "denied" in words
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    config = json.dumps({"auths": {closed_registry: {"auth": auth}}})
    secret = {
        "kind": "Secret",
        "metadata": {"name": "login"},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": config},
    }
    node.create(secret)
    node.create(
        pod(container(image), name="allowed", imagePullSecrets=[{"name": "missing"}, {"name": "login"}])
    )
    found = node.wait(lambda p: state(p)["waiting"]["reason"] == "ErrImagePull", "allowed")
    # The registry is open to us now, and has no such image.
    assert "not found" in state(found)["waiting"]["message"]
    assert PASSWORD not in json.dumps([node.events("allowed"), found])


def test_a_pull_can_be_given_up(node: AgentCluster, tmp_path: Path) -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.settimeout(PATIENCE)
        silent.listen()
        image = f"127.0.0.1:{silent.getsockname()[1]}/slow:1"
        node.create(pod(container(image)))
        node.wait(lambda p: state(p)["waiting"]["reason"] == "ContainerCreating")
        connection, _ = silent.accept()
        with connection:
            began = time.monotonic()
            node.delete()
            node.gone()
            # A server that says nothing is waited for much longer.
            assert time.monotonic() - began < puller._SILENCE_SECONDS / 2
