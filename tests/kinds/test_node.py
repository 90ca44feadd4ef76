"""Nodes: defaults, taints, what updates may change, the row of `kubectl get nodes`."""

from __future__ import annotations

from typing import Any

import pytest
from whole_server import Server

from podbay.apiserver.kinds.node import NODE

PATH = "/api/v1/nodes"


def node(**more: Any) -> dict[str, Any]:
    return {"metadata": {"name": "n"}, **more}


def test_status_can_be_given_at_creation_and_has_defaults(server: Server) -> None:
    made = server.create(PATH, node(status={"capacity": {"cpu": "1.0001", "pods": "10"}}))
    assert made["status"]["allocatable"] == made["status"]["capacity"] == {"cpu": "1001m", "pods": "10"}
    made = server.create(PATH, {"metadata": {"name": "m"}, "spec": {"podCIDR": "10.1.0.0/24"}})
    assert made["spec"]["podCIDRs"] == ["10.1.0.0/24"]


@pytest.mark.parametrize(
    ("taints", "causes"),
    [
        ([{"key": "a", "value": "b", "effect": "NoSchedule"}, {"key": "a", "effect": "NoExecute"}], []),
        ([{"key": "a"}], ["metadata.taints[0].effect: Required value"]),
        (
            [{"key": "a", "effect": "Maybe"}],
            [
                'metadata.taints[0].effect: Unsupported value: "Maybe": supported values: '
                '"NoSchedule", "PreferNoSchedule", "NoExecute"'
            ],
        ),
        (
            [{"key": "a", "effect": "NoExecute"}] * 2,
            [
                'metadata.taints[1]: Duplicate value: {"Key":"a","Value":"","Effect":"NoExecute","TimeAdded":null}'
                ": taints must be unique by key and effect pair"
            ],
        ),
    ],
)
def test_taints(server: Server, taints: list[dict[str, str]], causes: list[str]) -> None:
    found = server.refusals("POST", PATH, node(spec={"taints": taints}))
    assert found == causes


def test_amounts_are_whole_and_not_negative(server: Server) -> None:
    body = node(status={"capacity": {"pods": "1500m", "cpu": "-1"}, "allocatable": {"cpu": "1"}})
    assert server.refusals("POST", PATH, body) == [
        'status.capacity.pods: Invalid value: "1500m": must be an integer',
        'status.capacity.cpu: Invalid value: "-1": must be greater than or equal to 0',
    ]


def test_an_update_leaves_the_status_and_keeps_the_pod_network(server: Server) -> None:
    server.create(PATH, node(spec={"podCIDR": "10.1.0.0/24", "providerID": "podbay://n"}))
    code, changed = server.call(
        "PATCH", f"{PATH}/n", {"status": {"phase": "Running"}, "spec": {"unschedulable": True}}
    )
    assert (code, changed["spec"]["unschedulable"]) == (200, True)
    assert "phase" not in changed["status"]
    change = {"spec": {"podCIDRs": ["10.2.0.0/24"], "podCIDR": "10.2.0.0/24", "providerID": "x"}}
    assert server.refusals("PATCH", f"{PATH}/n", change) == [
        'spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid',
        'spec.providerID: Forbidden: node updates may not change providerID except from "" to valid',
    ]


def test_the_status_view_leaves_the_spec(server: Server) -> None:
    server.create(PATH, node())
    change = {
        "spec": {"unschedulable": True},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    code, changed = server.call("PATCH", f"{PATH}/n/status", change)
    assert code == 200
    assert "unschedulable" not in changed["spec"]
    assert changed["status"]["conditions"][0]["type"] == "Ready"


def test_rows(server: Server) -> None:
    made = server.create(
        PATH,
        {
            "metadata": {
                "name": "n",
                "labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "b"},
            },
            "spec": {"unschedulable": True},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                "nodeInfo": {"kubeletVersion": "v1.36.2", "osImage": "Linux"},
            },
        },
    )
    assert server.row(NODE, made) == [
        "n",
        "Ready,SchedulingDisabled",
        "b,control-plane",
        "v1.36.2",
        "10.0.0.1",
        "<none>",
        "Linux",
        "<unknown>",
        "<unknown>",
    ]
    assert server.row(NODE, server.create(PATH, {"metadata": {"name": "m"}}))[1:3] == ["Unknown", "<none>"]


def test_selects_by_schedulability(server: Server) -> None:
    server.create(PATH, node(spec={"unschedulable": True}))
    assert len(server.call("GET", f"{PATH}?fieldSelector=spec.unschedulable=true")[1]) == 1
    assert server.call("GET", f"{PATH}?fieldSelector=spec.unschedulable=false")[1] == []
