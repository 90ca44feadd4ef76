from __future__ import annotations

from typing import Any

import pytest

from podbay.embedded.scheduler.requests import amounts, nonzero_requests, pod_requests


def container(cpu: str | None = None, *, sidecar: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {"name": "c", "resources": {"requests": {"cpu": cpu} if cpu else {}}}
    if sidecar:
        found["restartPolicy"] = "Always"
    return found


@pytest.mark.parametrize(
    ("spec", "milli"),
    [
        ({"containers": [container("1"), container("500m")]}, 1500),
        ({"containers": [container("1")], "initContainers": [container("3"), container("2")]}, 3000),
        ({"containers": [container("4")], "initContainers": [container("3")]}, 4000),
        # A sidecar adds to the main containers and to init containers that come after it, not before.
        ({"containers": [container("1")], "initContainers": [container("1", sidecar=True)]}, 2000),
        (
            {
                "containers": [container("1")],
                "initContainers": [container("1", sidecar=True), container("3")],
            },
            4000,
        ),
        (
            {
                "containers": [container("1")],
                "initContainers": [container("3"), container("1", sidecar=True)],
            },
            3000,
        ),
        ({"containers": [container("1")], "overhead": {"cpu": "250m"}}, 1250),
        ({"containers": [container("1")], "resources": {"requests": {"cpu": "3"}}}, 3000),
    ],
)
def test_effective_cpu_requests(spec: dict[str, Any], milli: int) -> None:
    assert pod_requests({"metadata": {"name": "p"}, "spec": spec})["cpu"] == milli


def test_amounts_round_up_to_their_unit() -> None:
    assert amounts({"cpu": "1.0001", "memory": "1Gi", "x.dev/a": "2"}) == {
        "cpu": 1001,
        "memory": 2**30,
        "x.dev/a": 2,
    }


def test_silent_containers_count_for_scoring() -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [container(), container("1")]}}
    assert nonzero_requests(pod) == (1100, 2 * 200 * 2**20)
    assert pod_requests(pod) == {"cpu": 1000}
