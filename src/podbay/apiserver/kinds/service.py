"""Service: stored with the addresses a real cluster would give; nothing in the embedded cluster routes to it.

Addresses and node ports are a function of the object's uid, so that no allocator state is needed. Source:
pkg/registry/core/service, pkg/apis/core/v1/defaults.go.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from podbay.apiserver.field import FieldError
from podbay.apiserver.kinds.service_rules import (
    externally_accessible,
    is_headless,
    needs_health_check,
    service_errors,
    service_update_errors,
)
from podbay.apiserver.kinds.strategies import Dns1035LabelNamed, StatusStrategy, carry_over, status_view
from podbay.apiserver.registry import Column, ResourceType, StrategyContext
from podbay.apiserver.tables import AGE_COLUMN, NAME_COLUMN, age
from podbay.objects.meta import Object
from podbay.objects.resource import GVR

__all__ = ["RESOURCE_TYPES", "SERVICE", "SERVICE_NETWORK"]

SERVICE_NETWORK = ipaddress.IPv4Network("10.96.0.0/12")
"""Where cluster IPs come from; the first 256 are left to services that ask for a certain one."""
_RESERVED = 256
_NODE_PORTS = range(30000, 32768)
_DEFAULT_AFFINITY_SECONDS = 10800
_TYPE = "io.k8s.api.core.v1.Service"


class ServiceStrategy(Dns1035LabelNamed):
    """The service without its status."""

    returns_deleted_object = True
    metadata_repeats = (1, 1)

    def set_defaults(self, obj: Object) -> None:
        _set_defaults(obj.setdefault("spec", {}))

    def prepare_for_create(self, obj: Object, ctx: StrategyContext) -> None:
        obj["status"] = {"loadBalancer": {}}
        _allocate(obj)

    def validate(self, obj: Object, ctx: StrategyContext) -> list[FieldError]:
        return service_errors(obj)

    def prepare_for_update(self, obj: Object, old: Object, ctx: StrategyContext) -> None:
        carry_over(obj, old, "status")
        _keep_allocated(obj["spec"], old.get("spec") or {})
        _allocate(obj)

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        return service_update_errors(obj, old) + service_errors(obj)


def _set_defaults(spec: dict[str, Any]) -> None:
    spec["sessionAffinity"] = spec.get("sessionAffinity") or "None"
    spec["type"] = kind = spec.get("type") or "ClusterIP"
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        config = spec["sessionAffinityConfig"] = spec.get("sessionAffinityConfig") or {}
        client_ip = config["clientIP"] = config.get("clientIP") or {}
        if client_ip.get("timeoutSeconds") is None:
            client_ip["timeoutSeconds"] = _DEFAULT_AFFINITY_SECONDS
    for port in spec.get("ports") or ():
        port["protocol"] = port.get("protocol") or "TCP"
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port") or 0
    if externally_accessible(spec) and not spec.get("externalTrafficPolicy"):
        spec["externalTrafficPolicy"] = "Cluster"
    if kind in ("ClusterIP", "NodePort", "LoadBalancer") and spec.get("internalTrafficPolicy") is None:
        spec["internalTrafficPolicy"] = "Cluster"
    if kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is None:
        spec["allocateLoadBalancerNodePorts"] = True
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]


def _allocate(obj: Object) -> None:
    """Give what the type needs and the client left open."""
    spec, uid = obj["spec"], obj["metadata"].get("uid") or ""
    if spec["type"] == "ExternalName":
        return
    if not spec.get("clusterIP"):
        spec["clusterIP"] = (spec.get("clusterIPs") or [_cluster_ip(uid)])[0]
    if not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    if not spec.get("ipFamilies"):
        spec["ipFamilies"] = ["IPv6" if ":" in spec["clusterIP"] else "IPv4"]
    if spec.get("ipFamilyPolicy") is None:
        spec["ipFamilyPolicy"] = "SingleStack"
    wanted = spec["type"] == "NodePort" or bool(spec.get("allocateLoadBalancerNodePorts"))
    if wanted and not is_headless(spec):
        for i, port in enumerate(spec.get("ports") or ()):
            port["nodePort"] = port.get("nodePort") or _node_port(f"{uid}/{i}")
    if needs_health_check(spec) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = _node_port(f"{uid}/health")


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def _cluster_ip(uid: str) -> str:
    free = SERVICE_NETWORK.num_addresses - _RESERVED - 1
    return str(SERVICE_NETWORK.network_address + _RESERVED + _number(uid) % free)


def _node_port(text: str) -> int:
    return _NODE_PORTS[_number(text) % len(_NODE_PORTS)]


def _keep_allocated(spec: dict[str, Any], old: Mapping[str, Any]) -> None:
    """An update that leaves out what was allocated keeps it (Go: patchAllocatedValues)."""
    if spec["type"] == "ExternalName" or old.get("type") == "ExternalName":
        return
    if not spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIP"], spec["clusterIPs"] = old.get("clusterIP"), old.get("clusterIPs")
    for key in ("ipFamilies", "ipFamilyPolicy"):
        if not spec.get(key) and old.get(key):
            spec[key] = old[key]
    if spec["type"] not in ("NodePort", "LoadBalancer"):
        return
    old_ports = {(p.get("protocol"), p.get("port")): p.get("nodePort") for p in old.get("ports") or ()}
    for port in spec.get("ports") or ():
        kept = old_ports.get((port.get("protocol"), port.get("port")))
        if not port.get("nodePort") and kept:
            port["nodePort"] = kept
    if needs_health_check(spec) and needs_health_check(old) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = old.get("healthCheckNodePort")


def _external_ips(obj: Object) -> str:
    spec = obj.get("spec") or {}
    external = list(spec.get("externalIPs") or ())
    match spec.get("type"):
        case "ClusterIP" | "NodePort":
            return ",".join(external) or "<none>"
        case "LoadBalancer":
            ingress = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
            found = sorted({i.get("ip") or i.get("hostname") or "" for i in ingress} - {""})
            return ",".join(found + external) or "<pending>"
        case "ExternalName":
            return spec.get("externalName") or ""
    return "<unknown>"


def _port_text(port: Mapping[str, Any]) -> str:
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port')}{node_port}/{port.get('protocol')}"


def _cells(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    selector = spec.get("selector") or {}
    return [
        obj["metadata"]["name"],
        spec.get("type") or "",
        (spec.get("clusterIPs") or ["<none>"])[0],
        _external_ips(obj),
        ",".join(_port_text(port) for port in spec.get("ports") or ()) or "<none>",
        age(obj, now),
        ",".join(f"{key}={selector[key]}" for key in sorted(selector)) or "<none>",
    ]


_MORE = "https://kubernetes.io/docs/concepts/services-networking/service/"
_PROXIES = f"More info: {_MORE}#virtual-ips-and-service-proxies"

SERVICE = ResourceType(
    gvr=GVR("", "v1", "services"),
    kind="Service",
    type_name=_TYPE,
    namespaced=True,
    singular="service",
    short_names=("svc",),
    categories=("all",),
    strategy=ServiceStrategy(),
    fields={
        "spec.clusterIP": lambda obj: (obj.get("spec") or {}).get("clusterIP") or "",
        "spec.type": lambda obj: (obj.get("spec") or {}).get("type") or "",
    },
    subresources=(status_view("Service", _TYPE, StatusStrategy()),),
    columns=(
        NAME_COLUMN,
        Column(
            "Type",
            "string",
            "type determines how the Service is exposed. Defaults to ClusterIP. Valid options are ExternalName, "
            'ClusterIP, NodePort, and LoadBalancer. "ClusterIP" allocates a cluster-internal IP address for '
            "load-balancing to endpoints. Endpoints are determined by the selector or if that is not specified, by "
            "manual construction of an Endpoints object or EndpointSlice objects. If clusterIP is "
            '"None", no virtual IP is allocated and the endpoints are published as a set of endpoints rather than a '
            'virtual IP. "NodePort" builds on ClusterIP and allocates a port on every node which routes to the same '
            'endpoints as the clusterIP. "LoadBalancer" builds on NodePort and creates an external load-balancer (if '
            'supported in the current cloud) which routes to the same endpoints as the clusterIP. "ExternalName" '
            "aliases this service to the specified externalName. Several other fields do not apply to ExternalName "
            f"services. More info: {_MORE}#publishing-services-service-types",
        ),
        Column(
            "Cluster-IP",
            "string",
            "clusterIP is the IP address of the service and is usually assigned randomly. If an address is specified "
            "manually, is in-range (as per system configuration), and is not in use, it will be allocated to the "
            "service; otherwise creation of the service will fail. This field may not be changed through updates "
            "unless the type field is also being changed to ExternalName (which requires this field to be blank) or "
            "the type field is being changed from ExternalName (in which case this field may optionally be "
            'specified, as describe above).  Valid values are "None", empty string (""), or a valid IP address. '
            'Setting this to "None" makes a "headless service" (no virtual IP), which is useful when direct endpoint '
            "connections are preferred and proxying is not required.  Only applies to types ClusterIP, NodePort, and "
            "LoadBalancer. If this field is specified when creating a Service of type ExternalName, creation will "
            f"fail. This field will be wiped when updating a Service to type ExternalName. {_PROXIES}",
        ),
        Column(
            "External-IP",
            "string",
            "externalIPs is a list of IP addresses for which nodes in the cluster will also accept traffic for this "
            "service.  These IPs are not managed by Kubernetes.  The user is responsible for ensuring that traffic "
            "arrives at a node with this IP.  A common example is external load-balancers that are not part of the "
            "Kubernetes system.",
        ),
        Column("Port(s)", "string", f"The list of ports that are exposed by this service. {_PROXIES}"),
        AGE_COLUMN,
        Column(
            "Selector",
            "string",
            "Route service traffic to pods with label keys and values matching this selector. If empty or not "
            "present, the service is assumed to have an external process managing its endpoints, which Kubernetes "
            "will not modify. Only applies to types ClusterIP, NodePort, and LoadBalancer. Ignored if type is "
            f"ExternalName. More info: {_MORE}",
            priority=1,
        ),
    ),
    cells=_cells,
)

RESOURCE_TYPES: tuple[ResourceType, ...] = (SERVICE,)
