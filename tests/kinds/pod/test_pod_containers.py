"""Refusals that concern one container: its name, image, environment, mounts, ports, probes, resources."""

from __future__ import annotations

from typing import Any

import pytest

EXEC = {"exec": {"command": ["true"]}}


@pytest.mark.parametrize(
    ("fields", "causes"),
    [
        ({"name": ""}, ["name: Required value"]),
        ({"image": ""}, ["image: Required value"]),
        ({"image": " x "}, ['image: Invalid value: " x ": must not have leading or trailing whitespace']),
        (
            {"imagePullPolicy": "Now"},
            [
                'imagePullPolicy: Unsupported value: "Now": supported values: "Always", "IfNotPresent", "Never"',
            ],
        ),
        (
            {"terminationMessagePolicy": "X"},
            [
                'terminationMessagePolicy: Unsupported value: "X": '
                'supported values: "File", "FallbackToLogsOnError"',
            ],
        ),
        ({"volumeMounts": [{"name": "q", "mountPath": "/x"}]}, ['volumeMounts[0].name: Not found: "q"']),
        ({"readinessProbe": {}}, ["readinessProbe: Required value: must specify a handler type"]),
        (
            {"livenessProbe": {"exec": {}, "periodSeconds": -1, "successThreshold": 2}},
            [
                "livenessProbe.exec.command: Required value",
                "livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
                "livenessProbe.successThreshold: Invalid value: 2: must be 1",
            ],
        ),
        (
            {"livenessProbe": {"tcpSocket": {"port": 0}}},
            ["livenessProbe.tcpSocket.port: Invalid value: 0: must be between 1 and 65535, inclusive"],
        ),
        (
            {"livenessProbe": {**EXEC, "tcpSocket": {"port": 1}}},
            ["livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"],
        ),
        ({"lifecycle": {"preStop": {}}}, ["lifecycle.preStop: Required value: must specify a handler type"]),
        ({"ports": [{"containerPort": 0}]}, ["ports[0].containerPort: Required value"]),
        (
            {"ports": [{"containerPort": 1, "protocol": "IP"}]},
            ['ports[0].protocol: Unsupported value: "IP": supported values: "SCTP", "TCP", "UDP"'],
        ),
        (
            {"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]},
            ['ports[1].name: Duplicate value: "a"'],
        ),
        (
            {"ports": [{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}]},
            ['ports[1].hostPort: Duplicate value: "TCP//9"'],
        ),
        (
            {"env": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
            ['env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty'],
        ),
        ({"env": [{"name": ""}]}, ["env[0].name: Required value"]),
        (
            {"envFrom": [{}]},
            ['envFrom: Invalid value: "": must specify one of: `configMapRef` or `secretRef`'],
        ),
        (
            {"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}},
            ['resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'],
        ),
        (
            {"resources": {"requests": {"example.com/gpu": "1"}}},
            ["resources.limits: Required value: Limit must be set for non overcommitable resources"],
        ),
        (
            {"resources": {"limits": {"hugepages-2Mi": "2Mi"}}},
            ["resources: Forbidden: HugePages require cpu or memory"],
        ),
        (
            {"restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}]},
            ["restartPolicy: Required value: must specify restartPolicy when restart rules are used"],
        ),
    ],
)
def test_refused(pods: Any, fields: dict[str, Any], causes: list[str]) -> None:
    assert pods.refusals(**fields) == [f"spec.containers[0].{cause}" for cause in causes]


@pytest.mark.parametrize(
    "fields",
    [
        {"env": [{"name": "relaxed name!", "value": "x"}]},
        {"resources": {"limits": {"hugepages-2Mi": "4Mi", "cpu": "1"}}},
        {"resources": {"limits": {"example.com/gpu": "1"}}},
        {"restartPolicy": "Never"},
        {
            "ports": [
                {"containerPort": 1, "hostPort": 9},
                {"containerPort": 1, "hostPort": 9, "protocol": "UDP"},
            ]
        },
    ],
)
def test_accepted(pods: Any, fields: dict[str, Any]) -> None:
    assert pods.refusals(**fields) == []


def test_names_are_unique_over_both_kinds_of_container(pods: Any) -> None:
    init = [{"name": "main", "image": "x"}]
    assert pods.refusals({"initContainers": init}) == ['spec.initContainers[0].name: Duplicate value: "main"']


def test_only_sidecars_among_init_containers_have_probes(pods: Any) -> None:
    init = {"name": "i", "image": "x", "livenessProbe": EXEC}
    assert pods.refusals({"initContainers": [init]}) == [
        "spec.initContainers[0].livenessProbe: Forbidden: "
        "may not be set for init containers without restartPolicy=Always"
    ]
    assert pods.refusals({"initContainers": [init | {"restartPolicy": "Always"}]}) == []


@pytest.mark.parametrize(
    ("mount", "cause"),
    [
        ({"mountPath": ""}, "volumeMounts[0].mountPath: Required value"),
        ({"subPath": "../a"}, "volumeMounts.subPath: Invalid value: \"../a\": must not contain '..'"),
        ({"subPath": "/a"}, 'volumeMounts.subPath: Invalid value: "/a": must be a relative path'),
    ],
)
def test_mounts(pods: Any, mount: dict[str, Any], cause: str) -> None:
    mounts = [{"name": "v", "mountPath": "/x", **mount}]
    volumes = {"volumes": [{"name": "v", "emptyDir": {}}]}
    assert pods.refusals(volumes, volumeMounts=mounts) == [f"spec.containers[0].{cause}"]
