"""metrics.k8s.io of pods that run as containers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from agent_pods import AgentCluster, pod, shell
from patience import until

METRICS = "/apis/metrics.k8s.io/v1beta1"


@pytest.fixture(autouse=True)
def _namespace(namespace: str) -> Iterator[None]:
    yield


def measured(node: AgentCluster) -> dict[str, dict[str, str]]:
    """Usage by container name, empty until the pod is measured."""
    code, answer = node.api.call("GET", f"{METRICS}/namespaces/{node.namespace}/pods/p")
    assert code in (200, 404), answer
    return {c["name"]: c["usage"] for c in answer.get("containers", [])}


def nanos(text: str) -> int:
    units = {"n": 1, "u": 10**3, "m": 10**6}
    return int(text[:-1]) * units[text[-1]] if text[-1] in units else int(text) * 10**9


def kibibytes(text: str) -> int:
    units = {"Ki": 1, "Mi": 1024}
    return int(text[:-2]) * units[text[-2:]] if text[-2:] in units else int(text) // 1024


def test_usage_of_containers(node: AgentCluster) -> None:
    """One container computes without end, one keeps 40 MiB and sleeps."""
    busy = shell("while :; do :; done", name="busy")
    full = shell("dd if=/dev/zero of=/dev/shm/x bs=1M count=40 2>/dev/null; sleep 1000", name="full")
    node.running(pod(busy, full))

    def shows() -> Any:
        used = measured(node)
        if "busy" not in used or "full" not in used:
            return None
        return used if kibibytes(used["full"]["memory"]) >= 40 * 1024 else None

    used = until(shows)
    # The machine may be busy with other things, but not so that a loop gets less than a hundredth of a processor.
    assert nanos(used["busy"]["cpu"]) > 10_000_000
    assert kibibytes(used["busy"]["memory"]) < 20 * 1024


def test_usage_of_the_node(node: AgentCluster) -> None:
    code, answer = node.api.call("GET", f"{METRICS}/nodes/node1")
    assert code == 200, answer
    assert kibibytes(answer["usage"]["memory"]) > 0
    assert answer["window"].endswith("s")


def test_ended_pods_use_nothing(node: AgentCluster) -> None:
    node.run(pod("true"))
    code, answer = node.api.call("GET", f"{METRICS}/namespaces/{node.namespace}/pods/p")
    assert (code, answer["message"]) == (
        404,
        f'podmetrics.metrics.k8s.io "{node.namespace}/p" not found',
    )
