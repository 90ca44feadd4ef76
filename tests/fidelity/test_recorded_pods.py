"""What a real kubelet 1.36 reported of pods, their logs and events, asked again of containers on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from replayer import Replay, load_cases

from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.containers import container_agent, runtime_available
from podbay.testing import Environment
from podbay.testing.requests import Requests

pytestmark = [pytest.mark.fidelity, pytest.mark.contract, pytest.mark.root, pytest.mark.slow]

PREFIXES = ("pod-", "log-", "eviction", "binding-done", "sched-")
DIFFERENT = {
    "pod-sa-token": "the recorded server added service-ca.crt to token volumes; Kubernetes does not",
    "pod-vols": "the pod is bound here before the client's next request arrives; the recorded server took longer",
}
CASES = [case for case in load_cases() if case["id"].startswith(PREFIXES)]


@pytest.fixture(scope="module")
def containers(request: pytest.FixtureRequest, busybox_archive: Path) -> Iterator[Environment]:
    if request.config.getoption("--podbay-cluster") != "embedded":
        yield request.getfixturevalue("podbay_cluster")
        return
    if not runtime_available():
        pytest.skip("no container runtime here (needs root, runc and conmon)")
    agent = container_agent("node1", None)
    with Environment.start(ClusterOptions(nodes=(lambda: agent,))) as environment:
        environment.run(agent.runtime.load_images(busybox_archive))  # type: ignore[arg-type]
        yield environment


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_answers_like_a_real_kubelet(containers: Environment, case: dict[str, Any]) -> None:
    with Requests(containers.kubeconfig) as api:
        found = Replay(api).run(case)
    if case["id"] in DIFFERENT:
        assert found, f"{case['id']} agrees now; take it out of DIFFERENT and docs/limits.md"
        pytest.skip(DIFFERENT[case["id"]])
    assert not found, "\n".join(found)
