"""fieldRef and resourceFieldRef: what a pod can be told about itself, in env and in downwardAPI volumes. Pure.

Source: pkg/fieldpath/fieldpath.go, pkg/api/v1/resource/helpers.go (ExtractContainerResourceValue).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from podbay.node.podspec import find_container
from podbay.objects.meta import Object, annotations_of, labels_of, name_of, namespace_of, uid_of
from podbay.objects.quantity import Quantity

__all__ = ["NodeFacts", "field_value", "resource_value"]

_SUBSCRIPT = re.compile(r"(metadata\.(?:annotations|labels))\['(.*)'\]\Z", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What pods may learn of their node. allocatable stands in for limits that a container does not set."""

    name: str
    ip: str
    allocatable: Mapping[str, str]


def field_value(pod: Object, path: str, node: NodeFacts, *, pod_ips: tuple[str, ...] = ()) -> str:
    """The text of a field. Raises ValueError for a path that validation should have refused."""
    subscript = _SUBSCRIPT.match(path)
    if subscript:
        values = labels_of(pod) if subscript.group(1) == "metadata.labels" else annotations_of(pod)
        return values.get(subscript.group(2)) or ""
    spec = pod["spec"]
    simple = {
        "metadata.name": name_of(pod),
        "metadata.namespace": namespace_of(pod),
        "metadata.uid": uid_of(pod),
        "spec.nodeName": spec.get("nodeName") or "",
        "spec.serviceAccountName": spec.get("serviceAccountName") or "",
        "status.hostIP": node.ip,
        "status.hostIPs": node.ip,
        "status.podIP": pod_ips[0] if pod_ips else "",
        "status.podIPs": ",".join(pod_ips),
    }
    if path in simple:
        return simple[path]
    if path == "metadata.labels":
        return _lines(labels_of(pod))
    if path == "metadata.annotations":
        return _lines(annotations_of(pod))
    raise ValueError(f"unsupported fieldPath: {path}")


def _lines(values: Mapping[str, str]) -> str:
    # Go's %q and JSON agree on everything that labels and most annotations hold.
    return "\n".join(f"{key}={json.dumps(values[key], ensure_ascii=False)}" for key in sorted(values))


def resource_value(pod: Object, container_name: str, reference: Object, node: NodeFacts) -> str:
    """The number of a resourceFieldRef, divided and rounded up. Raises ValueError with the kubelet's words."""
    name = reference.get("containerName") or container_name
    container = find_container(pod["spec"], name)
    if container is None:
        raise ValueError(f'container "{name}" not found')
    path = reference["resource"]
    part, _, resource = path.partition(".")
    if part not in ("limits", "requests") or not resource:
        raise ValueError(f"unsupported container resource : {path}")
    resources = container.get("resources") or {}
    value = (resources.get(part) or {}).get(resource)
    if value is None and part == "limits":
        value = node.allocatable.get(resource)
    quantity = Quantity.from_json(value)
    divisor = Quantity.from_json(reference.get("divisor") or "1")
    if divisor.is_zero:
        divisor = Quantity.from_value(1)
    # Only CPU is counted in thousandths.
    if resource == "cpu":
        return str(-(-quantity.milli_value() // divisor.milli_value()))
    return str(-(-quantity.value() // max(1, divisor.value())))
