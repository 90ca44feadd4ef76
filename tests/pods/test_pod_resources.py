"""Default sizes, raised requests, quality of service: exactly, per resource, and only where nothing was said."""

from __future__ import annotations

from typing import Any

import pytest

from podbay.pods.resources import is_guaranteed, raise_requests, with_default_size

SIZE = {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"cpu": "250m", "memory": "512Mi"}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, SIZE),
        (
            {"limits": {"cpu": "2"}},
            {"limits": {"cpu": "2", "memory": "512Mi"}, "requests": {"memory": "512Mi"}},
        ),
        (
            {"requests": {"memory": "1Gi", "nvidia.com/gpu": "1"}},
            {
                "requests": {"memory": "1Gi", "nvidia.com/gpu": "1", "cpu": "250m"},
                "limits": {"cpu": "250m"},
            },
        ),
        (
            {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
            {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
        ),
    ],
)
def test_a_default_fills_what_was_not_said(given: dict[str, Any], expected: dict[str, Any]) -> None:
    container: dict[str, Any] = {"resources": given} if given else {}
    with_default_size(container, SIZE)
    assert container["resources"] == expected


def test_no_default_adds_nothing() -> None:
    container: dict[str, Any] = {}
    with_default_size(container, {})
    assert container == {}


def test_requests_are_raised_to_limits_in_every_container() -> None:
    """Spec 35: 100m of 2 becomes 2; equal amounts written differently are equal; devices and nonsense are left alone."""
    pod: dict[str, Any] = {
        "spec": {
            "initContainers": [{"resources": {"limits": {"memory": "1Gi"}}}],
            "containers": [
                {
                    "resources": {
                        "requests": {"cpu": "100m", "memory": "1024Mi"},
                        "limits": {"cpu": "2", "memory": "1Gi", "nvidia.com/gpu": "1"},
                    }
                },
                {"resources": {"requests": {"cpu": "x"}, "limits": {"cpu": "1"}}},
                {},
            ],
        }
    }
    assert raise_requests(pod) == [
        "spec.initContainers[0].resources.requests[memory]: raised from nothing to the limit, 1Gi",
        "spec.containers[0].resources.requests[cpu]: raised from 100m to the limit, 2",
    ]
    assert pod["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "2", "memory": "1024Mi"}
    assert raise_requests(pod) == []


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, True),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}, True),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "999m"}}, False),
        ({"limits": {"cpu": "1"}}, False),
        ({"limits": {"cpu": "0", "memory": "1Gi"}}, False),
        ({"limits": {"cpu": "x", "memory": "1Gi"}}, False),
        ({}, False),
    ],
)
def test_guaranteed_is_what_kubernetes_calls_so(resources: dict[str, Any], expected: bool) -> None:
    assert is_guaranteed([{"resources": resources}]) is expected
    assert is_guaranteed([]) is False
