"""A task's result comes out of real containers, by either transport, with nobody listening while the pod runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images
import pytest
from patience import PATIENCE

from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.containers import container_agent, runtime_available
from podbay.pods.build import build_pod
from podbay.pods.request import PodDefaults, PodRequest, SidecarOptions
from podbay.pods.result import ResultReading, read_frame, read_termination_message
from podbay.pods.sidecar import SIDECAR_NAME
from podbay.testing import Environment
from podbay.testing.requests import Requests

pytestmark = [pytest.mark.contract, pytest.mark.root, pytest.mark.slow]
IMAGE = "localhost/bb:1"
PODS = "/api/v1/namespaces/default/pods"
DEFAULTS = PodDefaults(sidecar=SidecarOptions(image=IMAGE, max_result_bytes=200_000))
CASES = {
    "small": (
        "printf '{\"rows\": 12}' >/airflow/xcom/return.json",
        ResultReading("value", b'{"rows": 12}', size=12),
    ),
    "large": (
        "head -c 100000 /dev/zero | tr '\\0' x >/airflow/xcom/return.json",
        ResultReading("value", b"x" * 100_000, size=100_000),
    ),
    "none": ("true", ResultReading("none")),
    "too-large": (
        "head -c 200001 /dev/zero >/airflow/xcom/return.json",
        ResultReading("too_large", size=200_001, limit=200_000),
    ),
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Requests]:
    if not runtime_available():
        pytest.skip("no container runtime here (needs root, runc and conmon)")
    archive: Path = images.busybox().archive(tmp_path_factory.mktemp("images") / "bb.tar", IMAGE)
    agent = container_agent("node1", None)
    with Environment.start(ClusterOptions(nodes=(lambda: agent,))) as environment:
        environment.run(agent.runtime.load_images(archive))  # type: ignore[arg-type]
        with Requests(environment.kubeconfig) as requests:
            yield requests


def run(api: Requests, request: PodRequest) -> dict[str, Any]:
    """The pod after its end."""
    code, pod = api.call("POST", PODS, build_pod(request, DEFAULTS))
    assert code == 201, pod
    deadline = time.monotonic() + PATIENCE
    while pod["status"].get("phase") not in ("Succeeded", "Failed") and time.monotonic() < deadline:
        time.sleep(0.05)
        pod = api.call("GET", f"{PODS}/{request.name}")[1]
    assert pod["status"]["phase"] == "Succeeded", pod["status"]
    found: dict[str, Any] = pod
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_sidecar_prints_the_result_after_the_end(api: Requests, case: str) -> None:
    program, expected = CASES[case]
    pod = run(api, PodRequest(name=case, image=IMAGE, command=["sh", "-c", program], result="sidecar"))
    log = api.call("GET", f"{PODS}/{case}/log?container={SIDECAR_NAME}")[1]
    assert read_frame(log.encode()) == expected
    [status] = pod["status"]["initContainerStatuses"]
    message = read_frame(status["state"]["terminated"].get("message", "").encode())
    assert message == (ResultReading("missing") if case == "large" else expected)


def test_a_file_for_its_owner_alone_is_read_by_a_restricted_sidecar(api: Requests) -> None:
    request = PodRequest(
        name="restricted",
        image=IMAGE,
        command=["sh", "-c", "umask 077; echo 1 >/airflow/xcom/return.json"],
        security_context={"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        container_security_context={
            "runAsUser": 1000,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        result="sidecar",
    )
    run(api, request)
    log = api.call("GET", f"{PODS}/restricted/log?container={SIDECAR_NAME}")[1]
    assert read_frame(log.encode()) == ResultReading("value", b"1\n", size=2)


def test_a_result_is_the_termination_message(api: Requests) -> None:
    program = "printf '[1, 2]' >/airflow/xcom/return.json"
    pod = run(
        api,
        PodRequest(name="message", image=IMAGE, command=["sh", "-c", program], result="termination_message"),
    )
    [status] = pod["status"]["containerStatuses"]
    message = status["state"]["terminated"]["message"]
    assert read_termination_message(message, container_count=1) == ResultReading("value", b"[1, 2]", size=6)
