"""Validation of Services: ports, types, addresses, affinity, traffic policies.

Not for defaults and allocation (service.py). Source: ValidateService* in pkg/apis/core/validation/validation.go.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from podbay.apiserver.field import FieldError, Path, duplicate, forbidden, invalid, not_supported, required
from podbay.apiserver.metadata import validate_labels
from podbay.objects.meta import Object
from podbay.objects.names import (
    dns1123_label_errors,
    dns1123_subdomain_errors,
    port_name_errors,
    port_number_errors,
    qualified_name_errors,
    strict_ip_errors,
)

__all__ = ["is_headless", "needs_health_check", "service_errors", "service_update_errors"]

_SPEC = Path("spec")
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_FAMILIES = ("IPv4", "IPv6")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_POLICIES = ("Cluster", "Local")
_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
_MAX_AFFINITY_SECONDS = 86400


def is_headless(spec: Mapping[str, Any]) -> bool:
    """No virtual address: the cluster IP is "None"."""
    return bool(spec.get("clusterIPs")) and spec["clusterIPs"][0] == "None"


def externally_accessible(spec: Mapping[str, Any]) -> bool:
    kind = spec.get("type")
    return kind in ("LoadBalancer", "NodePort") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def needs_health_check(spec: Mapping[str, Any]) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def service_errors(obj: Object) -> list[FieldError]:
    """Everything wrong with a service, except its metadata."""
    spec = obj.get("spec") or {}
    kind, ports = spec.get("type") or "", spec.get("ports") or []
    errors: list[FieldError] = []
    if not ports and not is_headless(spec) and kind != "ExternalName":
        errors.append(required(_SPEC.child("ports")))
    errors += _type_errors(spec, kind)
    errors += _ports_errors(ports, kind)
    errors += validate_labels(spec.get("selector"), _SPEC.child("selector"))
    errors += _affinity_errors(spec)
    errors += _cluster_ip_errors(spec)
    errors += _external_ip_errors(spec.get("externalIPs") or ())
    if not kind:
        errors.append(required(_SPEC.child("type")))
    elif kind not in _TYPES:
        errors.append(not_supported(_SPEC.child("type"), kind, _TYPES))
    errors += _load_balancer_errors(spec, kind)
    return errors + _traffic_errors(spec, kind)


def _type_errors(spec: Mapping[str, Any], kind: str) -> list[FieldError]:
    if kind in ("LoadBalancer", "NodePort") and is_headless(spec):
        path = _SPEC.child("clusterIPs").index(0)
        return [invalid(path, "None", f"may not be set to 'None' for {kind} services")]
    if kind != "ExternalName":
        return []
    words = "may not be set for ExternalName services"
    errors = [
        forbidden(_SPEC.child(field), words)
        for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy")
        if spec.get(field)
    ]
    name, path = (spec.get("externalName") or "").removesuffix("."), _SPEC.child("externalName")
    if not name:
        return [*errors, required(path)]
    return errors + [invalid(path, name, message) for message in dns1123_subdomain_errors(name)]


def _ports_errors(ports: Sequence[Mapping[str, Any]], kind: str) -> list[FieldError]:
    path = _SPEC.child("ports")
    errors: list[FieldError] = []
    names: set[str] = set()
    for i, port in enumerate(ports):
        errors += _port_errors(port, path.index(i), names, name_needed=len(ports) > 1)
    for i, port in enumerate(ports):
        if kind == "ClusterIP" and port.get("nodePort"):
            words = "may not be used when `type` is 'ClusterIP'"
            errors.append(forbidden(path.index(i).child("nodePort"), words))
    seen_node_ports: set[tuple[Any, Any]] = set()
    seen_ports: set[tuple[Any, Any]] = set()
    for i, port in enumerate(ports):
        key = (port.get("protocol"), port.get("nodePort"))
        if port.get("nodePort") and key in seen_node_ports:
            errors.append(duplicate(path.index(i).child("nodePort"), port["nodePort"]))
        seen_node_ports.add(key)
    for i, port in enumerate(ports):
        key = (port.get("protocol"), port.get("port"))
        if key in seen_ports:
            errors.append(duplicate(path.index(i), _port_key(port)))
        seen_ports.add(key)
    return errors


def _port_key(port: Mapping[str, Any]) -> dict[str, Any]:
    """How the server shows a repeated port: an internal ServicePort of which only two fields are set."""
    return {
        "Name": "",
        "Protocol": port.get("protocol") or "",
        "AppProtocol": None,
        "Port": port.get("port") or 0,
        "TargetPort": 0,
        "NodePort": 0,
    }


def _port_errors(
    port: Mapping[str, Any], path: Path, names: set[str], *, name_needed: bool
) -> list[FieldError]:
    errors: list[FieldError] = []
    name = port.get("name") or ""
    if name:
        errors += [invalid(path.child("name"), name, message) for message in dns1123_label_errors(name)]
        if name in names:
            errors.append(duplicate(path.child("name"), name))
        names.add(name)
    elif name_needed:
        errors.append(required(path.child("name")))
    number = port.get("port") or 0
    errors += [invalid(path.child("port"), number, message) for message in port_number_errors(number)]
    protocol = port.get("protocol") or ""
    if not protocol:
        errors.append(required(path.child("protocol")))
    elif protocol not in _PROTOCOLS:
        errors.append(not_supported(path.child("protocol"), protocol, _PROTOCOLS))
    target = port.get("targetPort") or 0
    check = port_name_errors(target) if isinstance(target, str) else port_number_errors(target)
    errors += [invalid(path.child("targetPort"), target, message) for message in check]
    application = port.get("appProtocol")
    if application is not None:
        at = path.child("appProtocol")
        errors += [invalid(at, application, message) for message in qualified_name_errors(application)]
    return errors


def _affinity_errors(spec: Mapping[str, Any]) -> list[FieldError]:
    affinity, config = spec.get("sessionAffinity") or "", spec.get("sessionAffinityConfig")
    path = _SPEC.child("sessionAffinityConfig")
    if not affinity:
        return [required(_SPEC.child("sessionAffinity"))]
    if affinity == "None":
        words = "must not be set when session affinity is None"
        return [] if config is None else [forbidden(path, words)]
    if affinity != "ClientIP":
        return [not_supported(_SPEC.child("sessionAffinity"), affinity, ("ClientIP", "None"))]
    if config is None:
        return [required(path, "when session affinity type is ClientIP")]
    client_ip = config.get("clientIP")
    if client_ip is None:
        return [required(path.child("clientIP"), "when session affinity type is ClientIP")]
    seconds, at = client_ip.get("timeoutSeconds"), path.child("clientIP", "timeoutSeconds")
    if seconds is None:
        return [required(at, "when session affinity type is ClientIP")]
    if not 0 < seconds <= _MAX_AFFINITY_SECONDS:
        words = f"must be greater than 0 and less than {_MAX_AFFINITY_SECONDS}"
        return [invalid(at, seconds, words)]
    return []


def _cluster_ip_errors(spec: Mapping[str, Any]) -> list[FieldError]:
    if spec.get("type") == "ExternalName":
        return []
    addresses = spec.get("clusterIPs") or []
    path = _SPEC.child("clusterIPs")
    errors: list[FieldError] = []
    first = spec.get("clusterIP") or ""
    if first and not addresses:
        errors.append(required(path))
    elif addresses and addresses[0] != first:
        errors.append(invalid(path, addresses, "first value must match `clusterIP`"))
    for i, address in enumerate(addresses):
        if address == "None":
            if len(addresses) > 1:
                errors.append(invalid(path, addresses, "'None' must be the first and only value"))
            continue
        errors += [invalid(path.index(i), address, message) for message in strict_ip_errors(address)]
    families = spec.get("ipFamilies") or []
    for i, family in enumerate(families):
        at = _SPEC.child("ipFamilies").index(i)
        if family not in _FAMILIES:
            errors.append(not_supported(at, family, _FAMILIES))
        if family in families[:i]:
            errors.append(duplicate(at, family))
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in _FAMILY_POLICIES:
        errors.append(invalid(_SPEC.child("ipFamilyPolicy"), policy, "service.Spec.IPFamilyPolicy"))
    return errors


def _external_ip_errors(addresses: Sequence[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, address in enumerate(addresses):
        path = _SPEC.child("externalIPs").index(i)
        problems = strict_ip_errors(address) or _special_ip_errors(address)
        errors += [invalid(path, address, message) for message in problems]
    return errors


def _special_ip_errors(address: str) -> list[str]:
    ip = ipaddress.ip_address(address)
    errors: list[str] = []
    if ip.is_unspecified:
        errors.append(f"may not be unspecified ({address})")
    if ip.is_loopback:
        errors.append("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if ip.is_link_local:
        errors.append("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    return errors


def _load_balancer_errors(spec: Mapping[str, Any], kind: str) -> list[FieldError]:
    words = "may only be used when `type` is 'LoadBalancer'"
    balanced = kind == "LoadBalancer"
    errors: list[FieldError] = []
    if spec.get("loadBalancerSourceRanges") and not balanced:
        errors.append(forbidden(_SPEC.child("LoadBalancerSourceRanges"), words))
    if spec.get("allocateLoadBalancerNodePorts") is not None and not balanced:
        errors.append(forbidden(_SPEC.child("allocateLoadBalancerNodePorts"), words))
    if spec.get("loadBalancerClass") is not None and not balanced:
        errors.append(forbidden(_SPEC.child("loadBalancerClass"), words))
    return errors


def _traffic_errors(spec: Mapping[str, Any], kind: str) -> list[FieldError]:
    errors: list[FieldError] = []
    external, path = spec.get("externalTrafficPolicy") or "", _SPEC.child("externalTrafficPolicy")
    if not externally_accessible(spec):
        if external:
            errors.append(invalid(path, external, "may only be set for externally-accessible services"))
    elif not external:
        errors.append(required(path))
    elif external not in _POLICIES:
        errors.append(not_supported(path, external, _POLICIES))
    health, path = spec.get("healthCheckNodePort") or 0, _SPEC.child("healthCheckNodePort")
    if health and not needs_health_check(spec):
        words = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        errors.append(invalid(path, health, words))
    internal, path = spec.get("internalTrafficPolicy"), _SPEC.child("internalTrafficPolicy")
    if internal is None and kind in ("ClusterIP", "LoadBalancer", "NodePort"):
        errors.append(required(path))
    elif internal is not None and internal not in _POLICIES:
        errors.append(not_supported(path, internal, _POLICIES))
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        errors.append(not_supported(_SPEC.child("trafficDistribution"), distribution, _DISTRIBUTIONS))
    return errors


def service_update_errors(obj: Object, old: Object) -> list[FieldError]:
    """What an update may not change: addresses and families once given, unless the type is or was ExternalName."""
    spec, old_spec = obj.get("spec") or {}, old.get("spec") or {}
    if "ExternalName" in (spec.get("type"), old_spec.get("type")):
        return []
    errors: list[FieldError] = []
    for field in ("clusterIPs", "ipFamilies"):
        new_values, old_values = spec.get(field) or [], old_spec.get(field) or []
        if old_values and new_values[:1] != old_values[:1]:
            path = _SPEC.child(field).index(0)
            errors.append(invalid(path, new_values, "may not change once set"))
    both = needs_health_check(spec) and needs_health_check(old_spec)
    if both and spec.get("healthCheckNodePort") != old_spec.get("healthCheckNodePort"):
        errors.append(forbidden(_SPEC.child("healthCheckNodePort"), "field is immutable"))
    return errors
