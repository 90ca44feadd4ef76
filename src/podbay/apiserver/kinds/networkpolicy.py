"""NetworkPolicy: stored and checked; nothing in the embedded cluster enforces it (docs/limits.md).

Source: pkg/registry/networking/networkpolicy, pkg/apis/networking/validation, SetDefaults_NetworkPolicy*.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from podbay.apiserver.field import FieldError, Path, forbidden, invalid, not_supported, required
from podbay.apiserver.kinds.strategies import GENERATION, grow_generation
from podbay.apiserver.label_selectors import validate_label_selector
from podbay.apiserver.registry import Column, ResourceType, Strategy, StrategyContext
from podbay.apiserver.tables import AGE_COLUMN, NAME_COLUMN, age
from podbay.objects.meta import Object
from podbay.objects.names import cidr_errors, port_name_errors, port_number_errors
from podbay.objects.resource import GVR
from podbay.objects.selectors import LabelSelector

__all__ = ["NETWORK_POLICY", "RESOURCE_TYPES"]

_PROTOCOLS = ("TCP", "UDP", "SCTP")
_POLICY_TYPES = ("Ingress", "Egress")
_SPEC = Path("spec")


class NetworkPolicyStrategy(Strategy):
    """Rules of traffic to and from the selected pods."""

    metadata_repeats = (1, 1)

    def set_defaults(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        for rule in [*(spec.get("ingress") or ()), *(spec.get("egress") or ())]:
            for port in rule.get("ports") or ():
                if port.get("protocol") is None:
                    port["protocol"] = "TCP"
        if not spec.get("policyTypes"):
            spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]

    def prepare_for_create(self, obj: Object, ctx: StrategyContext) -> None:
        obj["metadata"][GENERATION] = 1

    def validate(self, obj: Object, ctx: StrategyContext) -> list[FieldError]:
        return _spec_errors(obj.get("spec") or {})

    def prepare_for_update(self, obj: Object, old: Object, ctx: StrategyContext) -> None:
        grow_generation(obj, old, "spec")

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        # The real strategy validates the new object and the update, each of which looks at the spec.
        return _spec_errors(obj.get("spec") or {}) * 2


def _spec_errors(spec: Mapping[str, Any]) -> list[FieldError]:
    errors = validate_label_selector(spec.get("podSelector"), _SPEC.child("podSelector"))
    for field, peers in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate(spec.get(field) or ()):
            path = _SPEC.child(field).index(i)
            for j, port in enumerate(rule.get("ports") or ()):
                errors += _port_errors(port, path.child("ports").index(j))
            for j, peer in enumerate(rule.get(peers) or ()):
                errors += _peer_errors(peer, path.child(peers).index(j))
    return errors + _policy_type_errors(spec.get("policyTypes") or (), _SPEC.child("policyTypes"))


def _policy_type_errors(types: Sequence[str], path: Path) -> list[FieldError]:
    if len(types) > len(_POLICY_TYPES):
        return [invalid(path, list(types), "may not specify more than two policyTypes")]
    return [
        not_supported(path.index(i), value, _POLICY_TYPES)
        for i, value in enumerate(types)
        if value not in _POLICY_TYPES
    ]


def _port_errors(port: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    protocol, number, end = port.get("protocol"), port.get("port"), port.get("endPort")
    if protocol is not None and protocol not in _PROTOCOLS:
        errors.append(not_supported(path.child("protocol"), protocol, _PROTOCOLS))
    if number is None:
        if end is not None:
            words = "may not be specified when `port` is not specified"
            errors.append(invalid(path.child("endPort"), end, words))
    elif isinstance(number, int):
        errors += [invalid(path.child("port"), number, m) for m in port_number_errors(number)]
        if end is not None:
            if end < number:
                words = "must be greater than or equal to `port`"
                errors.append(invalid(path.child("endPort"), end, words))
            errors += [invalid(path.child("endPort"), end, m) for m in port_number_errors(end)]
    else:
        if end is not None:
            words = "may not be specified when `port` is non-numeric"
            errors.append(invalid(path.child("endPort"), end, words))
        errors += [invalid(path.child("port"), number, m) for m in port_name_errors(number)]
    return errors


def _peer_errors(peer: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    given = [key for key in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(key) is not None]
    for key in given:
        if key == "ipBlock":
            errors += _ip_block_errors(peer[key], path.child(key))
        else:
            errors += validate_label_selector(peer[key], path.child(key))
    if not given:
        errors.append(required(path, "must specify a peer"))
    elif len(given) > 1 and "ipBlock" in given:
        errors.append(forbidden(path, "may not specify both ipBlock and another peer"))
    return errors


def _ip_block_errors(block: Mapping[str, Any], path: Path) -> list[FieldError]:
    cidr = block.get("cidr") or ""
    if not cidr:
        return [required(path.child("cidr"))]
    errors = [invalid(path.child("cidr"), cidr, message) for message in cidr_errors(cidr)]
    if errors:
        return errors
    network = ipaddress.ip_network(cidr)
    for i, text in enumerate(block.get("except") or ()):
        at = path.child("except").index(i)
        problems = cidr_errors(text)
        errors += [invalid(at, text, message) for message in problems]
        if not problems and not _strictly_inside(text, network):
            errors.append(invalid(at, text, "must be a strict subset of `cidr`"))
    return errors


def _strictly_inside(text: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    inner = ipaddress.ip_network(text)
    if inner.version != network.version or inner.prefixlen <= network.prefixlen:
        return False
    return inner.network_address in network


def _cells(obj: Object, now: datetime) -> list[Any]:
    try:
        selector = (
            str(LabelSelector.from_object((obj.get("spec") or {}).get("podSelector") or {})) or "<none>"
        )
    except ValueError:
        selector = "<error>"
    return [obj["metadata"]["name"], selector, age(obj, now)]


NETWORK_POLICY = ResourceType(
    gvr=GVR("networking.k8s.io", "v1", "networkpolicies"),
    kind="NetworkPolicy",
    type_name="io.k8s.api.networking.v1.NetworkPolicy",
    namespaced=True,
    singular="networkpolicy",
    short_names=("netpol",),
    strategy=NetworkPolicyStrategy(),
    columns=(
        NAME_COLUMN,
        Column(
            "Pod-Selector",
            "string",
            "podSelector selects the pods to which this NetworkPolicy object applies. The array of rules is applied "
            "to any pods selected by this field. An empty selector matches all pods in the policy's namespace. "
            "Multiple network policies can select the same set of pods. In this case, the ingress rules for each are "
            "combined additively. This field is optional. If it is not specified, it defaults to an empty selector.",
        ),
        AGE_COLUMN,
    ),
    cells=_cells,
)

RESOURCE_TYPES: tuple[ResourceType, ...] = (NETWORK_POLICY,)
