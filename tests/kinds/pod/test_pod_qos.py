from __future__ import annotations

from typing import Any

import pytest

from podbay.apiserver.kinds.pod_qos import compute_qos

BOTH = {"cpu": "1", "memory": "1Gi"}


def spec(*resources: dict[str, Any], init: tuple[dict[str, Any], ...] = (), **fields: Any) -> dict[str, Any]:
    return {
        "containers": [{"resources": r} for r in resources],
        "initContainers": [{"resources": r} for r in init],
        **fields,
    }


@pytest.mark.parametrize(
    ("pod", "qos"),
    [
        (spec({}), "BestEffort"),
        (spec({"requests": {"cpu": "0"}}), "BestEffort"),
        (spec({"requests": {"example.com/gpu": "1"}, "limits": {"example.com/gpu": "1"}}), "BestEffort"),
        (spec({"requests": {"ephemeral-storage": "1"}}), "BestEffort"),
        (spec({"requests": {"cpu": "1"}}), "Burstable"),
        (spec({"requests": BOTH, "limits": BOTH}), "Guaranteed"),
        (spec({"requests": BOTH, "limits": {"cpu": "1000m", "memory": "1024Mi"}}), "Guaranteed"),
        (spec({"requests": BOTH, "limits": {**BOTH, "cpu": "2"}}), "Burstable"),
        (spec({"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}), "Burstable"),
        (spec({"requests": BOTH, "limits": BOTH}, {}), "Burstable"),
        (spec({"requests": BOTH, "limits": BOTH}, init=({},)), "Burstable"),
        (spec({}, resources={"requests": BOTH, "limits": BOTH}), "Guaranteed"),
    ],
)
def test_class_of_a_pod(pod: dict[str, Any], qos: str) -> None:
    assert compute_qos(pod) == qos
