"""Node: taints, capacity, addresses; its status comes from the node agent.

Source: pkg/registry/core/node, ValidateNode*, SetDefaults_NodeStatus.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from podbay.apiserver.field import FieldError, Path, duplicate, forbidden, invalid, not_supported, required
from podbay.apiserver.kinds.strategies import StatusStrategy, carry_over, status_view
from podbay.apiserver.registry import Column, ResourceType, Strategy, StrategyContext
from podbay.apiserver.tables import AGE_COLUMN, NAME_COLUMN, age
from podbay.objects.meta import Object, labels_of
from podbay.objects.names import cidr_errors, label_value_errors, qualified_name_errors
from podbay.objects.quantity import Quantity
from podbay.objects.resource import GVR

__all__ = ["NODE", "RESOURCE_TYPES"]

_TYPE = "io.k8s.api.core.v1.Node"
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_TAINTS = Path("metadata").child("taints")
"""The real server reports taints below metadata, not below spec."""
_ROLE_PREFIX = "node-role.kubernetes.io/"
_ROLE_LABEL = "kubernetes.io/role"
_INTEGER_RESOURCES = frozenset(
    {
        "pods",
        "services",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    }
)


class NodeStrategy(Strategy):
    """The node without its status."""

    metadata_repeats = (1, 1)

    def set_defaults(self, obj: Object) -> None:
        set_node_defaults(obj)

    def validate(self, obj: Object, ctx: StrategyContext) -> list[FieldError]:
        spec = obj.get("spec") or {}
        errors = _taint_errors(spec.get("taints") or ())
        return errors + _resource_errors(obj) + _pod_cidr_errors(spec.get("podCIDRs") or ())

    def prepare_for_update(self, obj: Object, old: Object, ctx: StrategyContext) -> None:
        carry_over(obj, old, "status")

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        return self.validate(obj, ctx) + _update_errors(obj, old)


class NodeStatusStrategy(StatusStrategy):
    """The `status` view, which the node agent writes."""

    def set_defaults(self, obj: Object) -> None:
        set_node_defaults(obj)

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        return _update_errors(obj, old)


def set_node_defaults(obj: Object) -> None:
    """Allocatable follows capacity, amounts are whole thousandths, podCIDR and podCIDRs agree."""
    status = obj.get("status")
    if status:
        for key in ("capacity", "allocatable"):
            if status.get(key):
                status[key] = {
                    name: str(Quantity.from_json(amount).rounded_up()) for name, amount in status[key].items()
                }
        if status.get("allocatable") is None and status.get("capacity"):
            status["allocatable"] = dict(status["capacity"])
    spec = obj.get("spec")
    if spec:
        if spec.get("podCIDR") and not spec.get("podCIDRs"):
            spec["podCIDRs"] = [spec["podCIDR"]]
        elif spec.get("podCIDRs") and not spec.get("podCIDR"):
            spec["podCIDR"] = spec["podCIDRs"][0]


def _taint_errors(taints: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for i, taint in enumerate(taints):
        path = _TAINTS.index(i)
        key, value, effect = (taint.get(field) or "" for field in ("key", "value", "effect"))
        errors += [invalid(path.child("key"), key, message) for message in qualified_name_errors(key)]
        problems = label_value_errors(value)
        if problems:
            errors.append(invalid(path.child("value"), value, ";".join(problems)))
        if not effect:
            errors.append(required(path.child("effect")))
        elif effect not in _EFFECTS:
            errors.append(not_supported(path.child("effect"), effect, _EFFECTS))
        if (key, effect) in seen:
            shown = {"Key": key, "Value": value, "Effect": effect, "TimeAdded": taint.get("timeAdded")}
            error = duplicate(path, shown)
            words = "taints must be unique by key and effect pair"
            errors.append(FieldError(error.type, error.field, error.value, words))
        seen.add((key, effect))
    return errors


def _resource_errors(obj: Object) -> list[FieldError]:
    status = obj.get("status") or {}
    errors: list[FieldError] = []
    for field in ("capacity", "allocatable"):
        for name, amount in (status.get(field) or {}).items():
            path = Path("status").child(field, name)
            quantity = Quantity.from_json(amount)
            if quantity.sign < 0:
                errors.append(invalid(path, str(quantity), "must be greater than or equal to 0"))
            if name in _INTEGER_RESOURCES and quantity.milli_value() % 1000:
                errors.append(invalid(path, str(quantity), "must be an integer"))
    return errors


def _pod_cidr_errors(cidrs: Sequence[str]) -> list[FieldError]:
    path = Path("spec").child("podCIDRs")
    errors = [
        invalid(path.index(i), cidr, message) for i, cidr in enumerate(cidrs) for message in cidr_errors(cidr)
    ]
    if len(cidrs) > 1:
        families = {":" in cidr for cidr in cidrs}
        if len(families) != 2 or len(cidrs) > 2:
            errors.append(invalid(path, list(cidrs), "may specify no more than one CIDR for each IP family"))
        errors += [duplicate(path.index(i), cidr) for i, cidr in enumerate(cidrs) if cidr in cidrs[:i]]
    return errors


def _update_errors(obj: Object, old: Object) -> list[FieldError]:
    spec, old_spec = obj.get("spec") or {}, old.get("spec") or {}
    errors = _resource_errors(obj)
    addresses = (obj.get("status") or {}).get("addresses") or []
    path = Path("status").child("addresses")
    for i, address in enumerate(addresses):
        if address in addresses[:i]:
            shown = {"Type": address.get("type") or "", "Address": address.get("address") or ""}
            errors.append(duplicate(path.index(i), shown))
    old_cidrs = old_spec.get("podCIDRs") or []
    if old_cidrs and old_cidrs != (spec.get("podCIDRs") or []):
        words = 'node updates may not change podCIDR except from "" to valid'
        errors.append(forbidden(Path("spec").child("podCIDRs"), words))
    if old_spec.get("providerID") and old_spec["providerID"] != (spec.get("providerID") or ""):
        words = 'node updates may not change providerID except from "" to valid'
        errors.append(forbidden(Path("spec").child("providerID"), words))
    errors += _taint_errors(spec.get("taints") or ())
    if (spec.get("externalID") or "") != (old_spec.get("externalID") or ""):
        errors.append(forbidden(Path("spec").child("externalID"), "may not be updated"))
    return errors


def _status_text(obj: Object) -> str:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    ready = next((c for c in conditions if c.get("type") == "Ready"), None)
    if ready is None:
        text = "Unknown"
    else:
        text = "Ready" if ready.get("status") == "True" else "NotReady"
    return f"{text},SchedulingDisabled" if (obj.get("spec") or {}).get("unschedulable") else text


def _roles(obj: Object) -> str:
    labels = labels_of(obj)
    roles = {key.removeprefix(_ROLE_PREFIX) for key in labels if key.startswith(_ROLE_PREFIX)}
    roles.add(labels.get(_ROLE_LABEL) or "")
    return ",".join(sorted(roles - {""})) or "<none>"


def _address(obj: Object, kind: str) -> str:
    addresses = (obj.get("status") or {}).get("addresses") or ()
    return next((a.get("address") or "" for a in addresses if a.get("type") == kind), "<none>")


def _cells(obj: Object, now: datetime) -> list[Any]:
    info = (obj.get("status") or {}).get("nodeInfo") or {}
    return [
        obj["metadata"]["name"],
        _status_text(obj),
        _roles(obj),
        age(obj, now),
        info.get("kubeletVersion") or "",
        _address(obj, "InternalIP"),
        _address(obj, "ExternalIP"),
        info.get("osImage") or "<unknown>",
        info.get("kernelVersion") or "<unknown>",
        info.get("containerRuntimeVersion") or "<unknown>",
    ]


_ADDRESSES = (
    "List of addresses reachable to the node. Queried from cloud provider, if available. More info: "
    "https://kubernetes.io/docs/reference/node/node-status/#addresses Note: This field is declared as mergeable, but "
    "the merge key is not sufficiently unique, which can cause data corruption when it is merged. Callers should "
    "instead use a full-replacement patch. See https://pr.k8s.io/79391 for an example. Consumers should assume that "
    "addresses can change during the lifetime of a Node. However, there are some exceptions where this may not be "
    "possible, such as Pods that inherit a Node's address in its own status or consumers of the downward API "
    "(status.hostIP)."
)

NODE = ResourceType(
    gvr=GVR("", "v1", "nodes"),
    kind="Node",
    type_name=_TYPE,
    namespaced=False,
    singular="node",
    short_names=("no",),
    strategy=NodeStrategy(),
    fields={"spec.unschedulable": lambda o: str(bool((o.get("spec") or {}).get("unschedulable"))).lower()},
    subresources=(status_view("Node", _TYPE, NodeStatusStrategy()),),
    columns=(
        NAME_COLUMN,
        Column("Status", "string", "The status of the node"),
        Column("Roles", "string", "The roles of the node"),
        AGE_COLUMN,
        Column("Version", "string", "Kubelet Version reported by the node."),
        Column("Internal-IP", "string", _ADDRESSES, priority=1),
        Column("External-IP", "string", _ADDRESSES, priority=1),
        Column(
            "OS-Image",
            "string",
            "OS Image reported by the node from /etc/os-release (e.g. Debian GNU/Linux 7 (wheezy)).",
            priority=1,
        ),
        Column(
            "Kernel-Version",
            "string",
            "Kernel Version reported by the node from 'uname -r' (e.g. 3.16.0-0.bpo.4-amd64).",
            priority=1,
        ),
        Column(
            "Container-Runtime",
            "string",
            "ContainerRuntime Version reported by the node through runtime remote API (e.g. containerd://1.4.2).",
            priority=1,
        ),
    ),
    cells=_cells,
)

RESOURCE_TYPES: tuple[ResourceType, ...] = (NODE,)
