"""Every recorded answer of a real Kubernetes 1.36, asked again over the wire.

Cases that show what a kubelet reports need a node that runs containers: test_recorded_pods.py.
"""

from __future__ import annotations

from typing import Any

import pytest
from replayer import Replay, load_cases

from podbay.testing import Environment
from podbay.testing.requests import Requests

pytestmark = [pytest.mark.fidelity, pytest.mark.contract]

NEED_CONTAINERS = ("pod-", "log-", "eviction", "binding-done")
DIFFERENT = {
    "default-minimal": "the recorded server added openshift-service-ca.crt to token volumes; Kubernetes does not",
}
CASES = [case for case in load_cases() if not case["id"].startswith(NEED_CONTAINERS)]


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_answers_like_a_real_cluster(control_plane: Environment, case: dict[str, Any]) -> None:
    with Requests(control_plane.kubeconfig) as api:
        found = Replay(api).run(case)
    if case["id"] in DIFFERENT:
        assert found, f"{case['id']} agrees now; take it out of DIFFERENT and docs/limits.md"
        pytest.skip(DIFFERENT[case["id"]])
    assert not found, "\n".join(found)
