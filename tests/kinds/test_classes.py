"""PriorityClass, RuntimeClass, Lease, ServiceAccount, NetworkPolicy."""

from __future__ import annotations

from typing import Any

import pytest
from whole_server import Server

from podbay.apiserver.kinds.lease import LEASE
from podbay.apiserver.kinds.networkpolicy import NETWORK_POLICY
from podbay.apiserver.kinds.priorityclass import PRIORITY_CLASS, SYSTEM_CLASSES
from podbay.apiserver.kinds.runtimeclass import RUNTIME_CLASS

PRIORITIES = "/apis/scheduling.k8s.io/v1/priorityclasses"
RUNTIMES = "/apis/node.k8s.io/v1/runtimeclasses"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/ns/leases"
ACCOUNTS = "/api/v1/namespaces/ns/serviceaccounts"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/ns/networkpolicies"


def named(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **more}


def test_priority_class_defaults_and_row(server: Server) -> None:
    made = server.create(PRIORITIES, named("high", value=100))
    assert made["preemptionPolicy"] == "PreemptLowerPriority"
    assert made["metadata"]["generation"] == 1
    assert server.row(PRIORITY_CLASS, made) == ["high", 100, False, "PreemptLowerPriority"]


@pytest.mark.parametrize(
    ("body", "causes"),
    [
        (
            named("big", value=1_000_000_001),
            ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
        ),
        (
            named("system-mine", value=1),
            [
                "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use "
                "only. error: system-mine is not a known system priority class"
            ],
        ),
        (
            named("p", value=1, preemptionPolicy="Always"),
            [
                'preemptionPolicy: Unsupported value: "Always": supported values: "PreemptLowerPriority", "Never"'
            ],
        ),
        (named("system-node-critical", value=SYSTEM_CLASSES["system-node-critical"][0]), []),
    ],
)
def test_priority_class_rules(server: Server, body: dict[str, Any], causes: list[str]) -> None:
    assert server.refusals("POST", PRIORITIES, body) == causes


def test_system_priority_classes_stay(server: Server) -> None:
    for name, (value, _) in SYSTEM_CLASSES.items():
        if server.call("GET", f"{PRIORITIES}/{name}")[0] == 404:
            server.create(PRIORITIES, named(name, value=value))
        code, said = server.call("DELETE", f"{PRIORITIES}/{name}")
        assert (code, said["reason"]) == (403, "Forbidden")
        assert said["message"] == (
            f'priorityclasses.scheduling.k8s.io "{name}" is forbidden: '
            "this is a system priority class and cannot be deleted"
        )
        assert server.call("GET", f"{PRIORITIES}/{name}")[0] == 200


def test_priority_class_values_never_change(server: Server) -> None:
    server.create(PRIORITIES, named("p", value=1))
    assert server.refusals("PATCH", f"{PRIORITIES}/p", {"value": 2}) == [
        "value: Forbidden: may not be changed in an update."
    ]
    assert server.refusals("PATCH", f"{PRIORITIES}/p", {"preemptionPolicy": "Never"}) == [
        'preemptionPolicy: Invalid value: "Never": field is immutable'
    ]
    assert server.refusals("PATCH", f"{PRIORITIES}/p", {"description": "x"}) == []


def test_runtime_class_handlers(server: Server) -> None:
    made = server.create(RUNTIMES, named("r", handler="runc"))
    assert server.row(RUNTIME_CLASS, made) == ["r", "runc"]
    assert server.refusals("PATCH", f"{RUNTIMES}/r", {"handler": "other"}) == [
        'handler: Invalid value: "other": field is immutable'
    ]
    (cause,) = server.refusals("POST", RUNTIMES, named("s", handler="Bad"))
    assert cause.startswith('handler: Invalid value: "Bad": a lowercase RFC 1123 label must consist of')


def test_leases_may_be_created_by_put_and_need_a_version_afterwards(server: Server) -> None:
    body = named("l", spec={"holderIdentity": "me", "leaseDurationSeconds": 40})
    code, made = server.call("PUT", f"{LEASES}/l", body)
    assert code == 201
    assert server.row(LEASE, made) == ["l", "me"]
    assert server.call("PUT", f"{LEASES}/l", body)[0] == 422
    assert server.call("PUT", f"{LEASES}/l", made)[0] == 200


def test_lease_rules(server: Server) -> None:
    spec = {"leaseDurationSeconds": 0, "leaseTransitions": -1, "preferredHolder": "x"}
    assert server.refusals("POST", LEASES, named("l", spec=spec)) == [
        "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
        "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
        "spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined",
    ]


def test_service_accounts_keep_names_of_secrets_only(server: Server) -> None:
    made = server.create(ACCOUNTS, named("sa", secrets=[{"name": "s", "kind": "Secret", "uid": "u"}]))
    assert made["secrets"] == [{"name": "s"}]
    code, answer = server.call("DELETE", f"{ACCOUNTS}/sa")
    assert (code, answer["kind"]) == (200, "ServiceAccount")


def test_network_policy_defaults_and_row(server: Server) -> None:
    spec = {"podSelector": {"matchLabels": {"a": "b"}}, "egress": [{"ports": [{"port": 53}]}]}
    made = server.create(POLICIES, named("p", spec=spec))
    assert made["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert made["spec"]["egress"][0]["ports"] == [{"port": 53, "protocol": "TCP"}]
    assert server.row(NETWORK_POLICY, made) == ["p", "a=b"]
    everything = server.create(POLICIES, named("q", spec={"podSelector": {}}))
    assert everything["spec"]["policyTypes"] == ["Ingress"]
    assert server.row(NETWORK_POLICY, everything) == ["q", "<none>"]


@pytest.mark.parametrize(
    ("peer", "cause"),
    [
        ({}, "spec.ingress[0].from[0]: Required value: must specify a peer"),
        (
            {"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}},
            "spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer",
        ),
        (
            {"ipBlock": {"cidr": "10.0.0.1/8"}},
            'spec.ingress[0].from[0].ipBlock.cidr: Invalid value: "10.0.0.1/8": '
            "must not have bits set beyond the prefix length",
        ),
        (
            {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}},
            'spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "11.0.0.0/16": '
            "must be a strict subset of `cidr`",
        ),
    ],
)
def test_network_policy_peers(server: Server, peer: dict[str, Any], cause: str) -> None:
    spec = {"podSelector": {}, "ingress": [{"from": [peer]}]}
    assert server.refusals("POST", POLICIES, named("p", spec=spec)) == [cause]


def test_network_policy_generation_follows_its_spec(server: Server) -> None:
    server.create(POLICIES, named("p", spec={"podSelector": {}}))
    _, same = server.call("PATCH", f"{POLICIES}/p", {"metadata": {"labels": {"a": "b"}}})
    assert same["metadata"]["generation"] == 1
    _, other = server.call("PATCH", f"{POLICIES}/p", {"spec": {"podSelector": {"matchLabels": {"a": "b"}}}})
    assert other["metadata"]["generation"] == 2
