"""What a pod looks like after the fields nobody wrote are filled in."""

from __future__ import annotations

from typing import Any

import pytest

from podbay.apiserver.kinds.pod_defaults import default_pull_policy


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("busybox", "Always"),
        ("busybox:latest", "Always"),
        ("busybox:1.36", "IfNotPresent"),
        ("registry:5000/busybox", "Always"),
        ("registry:5000/busybox:v1", "IfNotPresent"),
        ("busybox@sha256:" + "0" * 64, "IfNotPresent"),
        ("Bad Image:1", "IfNotPresent"),
    ],
)
def test_an_image_without_a_fixed_tag_is_always_pulled(image: str, policy: str) -> None:
    assert default_pull_policy(image) == policy


def test_requests_default_to_limits(spec_of: Any) -> None:
    spec = spec_of(resources={"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}})
    assert spec["containers"][0]["resources"]["requests"] == {"cpu": "500m", "memory": "1Gi"}


def test_host_network_fills_in_host_ports(spec_of: Any) -> None:
    spec = spec_of({"hostNetwork": True}, ports=[{"containerPort": 80}])
    assert spec["containers"][0]["ports"] == [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]


def test_probes(spec_of: Any) -> None:
    spec = spec_of(
        livenessProbe={"httpGet": {"port": 80}},
        readinessProbe={"grpc": {"port": 80}, "timeoutSeconds": 5},
    )
    numbers = {"periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
    assert spec["containers"][0]["livenessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        **numbers,
    }
    assert spec["containers"][0]["readinessProbe"] == {
        "grpc": {"port": 80, "service": ""},
        "timeoutSeconds": 5,
        **numbers,
    }


def test_environment_sources(spec_of: Any) -> None:
    spec = spec_of(
        env=[
            {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        ]
    )
    field, resource = (entry["valueFrom"] for entry in spec["containers"][0]["env"])
    assert field == {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}
    assert resource == {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "0"}}


@pytest.mark.parametrize(
    ("source", "stored"),
    [
        ({}, {"emptyDir": {}}),
        ({"hostPath": {"path": "/x"}}, {"hostPath": {"path": "/x", "type": ""}}),
        ({"secret": {"secretName": "s"}}, {"secret": {"secretName": "s", "defaultMode": 420}}),
        ({"configMap": {"name": "c"}}, {"configMap": {"name": "c", "defaultMode": 420}}),
        (
            {"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
            {
                "projected": {
                    "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}],
                    "defaultMode": 420,
                }
            },
        ),
        (
            {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}},
            {
                "downwardAPI": {
                    "items": [{"path": "n", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}],
                    "defaultMode": 420,
                }
            },
        ),
    ],
)
def test_volumes(spec_of: Any, source: dict[str, Any], stored: dict[str, Any]) -> None:
    assert spec_of({"volumes": [{"name": "v", **source}]})["volumes"] == [{"name": "v", **stored}]


def test_a_new_pod_is_pending_whatever_its_author_says(pods: Any) -> None:
    body = pods.body() | {"status": {"phase": "Running", "podIP": "10.0.0.1"}}
    status = pods.server.create(pods.path, body)["status"]
    assert status == {"phase": "Pending", "qosClass": "BestEffort"}


def test_a_gated_pod_is_told_so(pods: Any) -> None:
    (condition,) = pods.create({"schedulingGates": [{"name": "g"}]})["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == (
        "PodScheduled",
        "False",
        "SchedulingGated",
    )
