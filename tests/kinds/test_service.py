"""Services: addresses that are given, and rules on what a client asks for."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from whole_server import Server

from podbay.apiserver.kinds.service import SERVICE, SERVICE_NETWORK

PATH = "/api/v1/namespaces/ns/services"
PORTS = [{"port": 80}]


def service(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "s"}, "spec": {"ports": PORTS, **spec}}


def test_a_plain_service_gets_an_address_and_defaults(server: Server) -> None:
    made = server.create(PATH, service(selector={"b": "2", "a": "1"}))
    spec = made["spec"]
    assert ipaddress.ip_address(spec["clusterIP"]) in SERVICE_NETWORK
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    assert spec["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert (spec["type"], spec["sessionAffinity"], spec["internalTrafficPolicy"]) == (
        "ClusterIP",
        "None",
        "Cluster",
    )
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")
    assert made["status"] == {"loadBalancer": {}}
    assert server.row(SERVICE, made) == ["s", "ClusterIP", spec["clusterIP"], "<none>", "80/TCP", "a=1,b=2"]


def test_headless_services_have_no_address(server: Server) -> None:
    made = server.create(PATH, {"metadata": {"name": "s"}, "spec": {"clusterIP": "None"}})
    assert made["spec"]["clusterIPs"] == ["None"]
    assert server.row(SERVICE, made)[2:5] == ["None", "<none>", "<none>"]


def test_node_ports_are_given_and_kept(server: Server) -> None:
    made = server.create(PATH, service(type="NodePort"))
    port = made["spec"]["ports"][0]["nodePort"]
    assert 30000 <= port < 32768
    assert server.row(SERVICE, made)[4] == f"80:{port}/TCP"
    body = {"metadata": made["metadata"], "spec": {"type": "NodePort", "ports": PORTS}}
    code, changed = server.call("PUT", f"{PATH}/s", body)
    assert code == 200
    assert changed["spec"] == made["spec"]


@pytest.mark.parametrize(
    ("spec", "causes"),
    [
        ({"ports": []}, ["spec.ports: Required value"]),
        (
            {"type": "Odd"},
            [
                'spec.type: Unsupported value: "Odd": supported values: "ClusterIP", "ExternalName", '
                '"LoadBalancer", "NodePort"'
            ],
        ),
        (
            {"ports": [{"port": 0}]},
            [
                f"spec.ports[0].{field}: Invalid value: 0: must be between 1 and 65535, inclusive"
                for field in ("port", "targetPort")
            ],
        ),
        (
            {"ports": [{"port": 1}, {"port": 2, "name": "b"}]},
            ["spec.ports[0].name: Required value"],
        ),
        (
            {"ports": [{"port": 1, "nodePort": 30000}]},
            ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        ),
        (
            {"clusterIP": "nope"},
            [
                'spec.clusterIPs[0]: Invalid value: "nope": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'
            ],
        ),
        ({"type": "ExternalName"}, ["spec.externalName: Required value"]),
        (
            {"type": "NodePort", "clusterIP": "None"},
            ["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
        ),
        (
            {"externalIPs": ["127.0.0.1"]},
            [
                'spec.externalIPs[0]: Invalid value: "127.0.0.1": '
                "may not be in the loopback range (127.0.0.0/8, ::1/128)"
            ],
        ),
    ],
)
def test_rules(server: Server, spec: dict[str, Any], causes: list[str]) -> None:
    assert server.refusals("POST", PATH, service(**spec)) == causes


def test_names_start_with_a_letter(server: Server) -> None:
    (cause,) = server.refusals("POST", PATH, {**service(), "metadata": {"name": "1s"}})
    assert cause.startswith('metadata.name: Invalid value: "1s": a DNS-1035 label must consist of')


def test_an_address_never_changes(server: Server) -> None:
    server.create(PATH, service(clusterIP="10.96.0.7"))
    change = {"spec": {"clusterIP": "10.96.0.8", "clusterIPs": ["10.96.0.8"]}}
    assert server.refusals("PATCH", f"{PATH}/s", change) == [
        'spec.clusterIPs[0]: Invalid value: ["10.96.0.8"]: may not change once set'
    ]
