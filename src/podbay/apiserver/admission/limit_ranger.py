"""Admission plugin LimitRanger: defaults and bounds that LimitRanges set for containers, pods and claims.

Source: plugin/pkg/admission/limitranger/admission.go. Constraints are checked resource by resource in the
order of the LimitRange's keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from podbay.apiserver.admission.base import Attributes, ClusterReader
from podbay.apiserver.admission.refusal import forbidden, join_messages
from podbay.apiserver.quota.lists import ResourceList, parse_list
from podbay.apiserver.quota.pod_resources import without_overhead
from podbay.objects.meta import Object, metadata_of
from podbay.objects.quantity import Quantity

__all__ = ["LimitRanger", "apply_defaults", "violations"]

_ANNOTATION = "kubernetes.io/limit-ranger"
_KEYS = ("pods", "persistentvolumeclaims")
_MAX_MILLI = ((1 << 63) - 1) // 1000
"""Above this a value has no thousandths in an int64, and Kubernetes compares whole units."""
_ZERO = Quantity.parse("0")


class LimitRanger:
    """Gives containers their default requests and limits, then refuses what is out of bounds."""

    name = "LimitRanger"

    def admit(self, attributes: Attributes, reader: ClusterReader) -> None:
        if attributes.obj is None or attributes.resource.key != "pods" or not _supports(attributes):
            return
        for limit_range in reader.list("limitranges", attributes.namespace):
            apply_defaults(limit_range, attributes.obj)

    def validate(self, attributes: Attributes, reader: ClusterReader) -> None:
        if attributes.obj is None or not _supports(attributes):
            return
        for limit_range in reader.list("limitranges", attributes.namespace):
            found = violations(limit_range, attributes.obj, key=attributes.resource.key)
            if found:
                raise forbidden(attributes, join_messages(found))


def _supports(attributes: Attributes) -> bool:
    key, operation = attributes.resource.key, attributes.operation
    if key not in _KEYS or operation not in ("CREATE", "UPDATE"):
        return False
    if attributes.old is not None and (attributes.old.get("metadata") or {}).get("deletionTimestamp"):
        return False
    if key == "pods":
        # Resources of containers change in no other update.
        return (operation, attributes.subresource) in (("CREATE", ""), ("UPDATE", "resize"))
    return attributes.subresource == ""


def apply_defaults(limit_range: Object, pod: Object) -> None:
    """Fill in missing requests and limits of every container and note in an annotation what was filled in."""
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    for item in _items(limit_range, "Container"):
        requests.update(item.get("defaultRequest") or {})
        limits.update(item.get("default") or {})
    notes: list[str] = []
    spec = pod.get("spec") or {}
    for field, label in (("containers", "container"), ("initContainers", "init container")):
        for container in spec.get(field) or ():
            for part, defaults, word in (("requests", requests, "request"), ("limits", limits, "limit")):
                added = _fill(container, part, defaults)
                if added:
                    notes.append(f"{', '.join(added)} {word} for {label} {container.get('name') or ''}")
    if notes:
        metadata = metadata_of(pod)
        annotations = metadata["annotations"] = metadata.get("annotations") or {}
        annotations[_ANNOTATION] = f"LimitRanger plugin set: {'; '.join(notes)}"


def _fill(container: dict[str, Any], part: str, defaults: Mapping[str, str]) -> list[str]:
    resources = container.get("resources") or {}
    present = resources.get(part) or {}
    missing = sorted(set(defaults).difference(present))
    if missing:
        container["resources"] = resources
        resources[part] = {**present, **{name: defaults[name] for name in missing}}
    return missing


def violations(limit_range: Object, obj: Object, *, key: str) -> list[str]:
    """Every bound of the LimitRange that an object of the collection `key` breaks, in words."""
    if key == "persistentvolumeclaims":
        return list(_claim_violations(limit_range, obj))
    return list(_pod_violations(limit_range, obj))


def _claim_violations(limit_range: Object, claim: Object) -> Iterator[str]:
    resources = (claim.get("spec") or {}).get("resources") or {}
    requests = parse_list(resources.get("requests"))
    for item in _items(limit_range, "PersistentVolumeClaim"):
        bound = _Bound("PersistentVolumeClaim", requests, {})
        for name, enforced in parse_list(item.get("min")).items():
            yield from bound.minimum(name, enforced)
        for name, enforced in parse_list(item.get("max")).items():
            yield from bound.maximum_request(name, enforced)


def _pod_violations(limit_range: Object, pod: Object) -> Iterator[str]:
    spec = pod.get("spec") or {}
    for item in (limit_range.get("spec") or {}).get("limits") or ():
        if item.get("type") == "Container":
            for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
                resources = container.get("resources") or {}
                requests, limits = parse_list(resources.get("requests")), parse_list(resources.get("limits"))
                yield from _Bound("Container", requests, limits).check(item)
        elif item.get("type") == "Pod":
            requests = without_overhead(spec, "requests")
            limits = without_overhead(spec, "limits")
            yield from _Bound("Pod", requests, limits).check(item)


def _items(limit_range: Object, type_name: str) -> Iterator[dict[str, Any]]:
    for item in (limit_range.get("spec") or {}).get("limits") or ():
        if item.get("type") == type_name:
            yield item


@dataclass(frozen=True, slots=True)
class _Bound:
    """The requests and limits under test; type is the word for their owner in messages."""

    type: str
    requests: ResourceList
    limits: ResourceList

    def check(self, item: Mapping[str, Any]) -> Iterator[str]:
        for name, enforced in parse_list(item.get("min")).items():
            yield from self.minimum(name, enforced)
        for name, enforced in parse_list(item.get("max")).items():
            yield from self.maximum(name, enforced)
        for name, enforced in parse_list(item.get("maxLimitRequestRatio")).items():
            yield from self.ratio(name, enforced)

    def minimum(self, name: str, enforced: Quantity) -> Iterator[str]:
        request, limit, bound = self._observed(name, enforced)
        start = f"minimum {name} usage per {self.type} is {enforced}"
        if name not in self.requests:
            yield f"{start}.  No request is specified"
        elif request < bound:
            yield f"{start}, but request is {self.requests[name]}"
        elif name in self.limits and limit < bound:
            yield f"{start}, but limit is {self.limits[name]}"

    def maximum(self, name: str, enforced: Quantity) -> Iterator[str]:
        request, limit, bound = self._observed(name, enforced)
        start = f"maximum {name} usage per {self.type} is {enforced}"
        if name not in self.limits:
            yield f"{start}.  No limit is specified"
        elif limit > bound:
            yield f"{start}, but limit is {self.limits[name]}"
        elif name in self.requests and request > bound:
            yield f"{start}, but request is {self.requests[name]}"

    def maximum_request(self, name: str, enforced: Quantity) -> Iterator[str]:
        request, _, bound = self._observed(name, enforced)
        start = f"maximum {name} usage per {self.type} is {enforced}"
        if name not in self.requests:
            yield f"{start}.  No request is specified"
        elif request > bound:
            yield f"{start}, but request is {self.requests[name]}"

    def ratio(self, name: str, enforced: Quantity) -> Iterator[str]:
        request, limit, _ = self._observed(name, enforced)
        start = f"{name} max limit to request ratio per {self.type} is {enforced}"
        if request == 0:
            yield f"{start}, but no request is specified or request is 0"
        elif limit == 0:
            yield f"{start}, but no limit is specified or limit is 0"
        else:
            observed, allowed = limit / request, float(enforced.value())
            fine = enforced.value() <= _MAX_MILLI
            if (observed * 1000 > enforced.milli_value()) if fine else (observed > allowed):
                yield f"{start}, but provided ratio is {observed:f}"

    def _observed(self, name: str, enforced: Quantity) -> tuple[int, int, int]:
        """Request, limit and bound in one unit: thousandths where they fit, else whole units."""
        three = (self.requests.get(name, _ZERO), self.limits.get(name, _ZERO), enforced)
        if all(quantity.value() <= _MAX_MILLI for quantity in three):
            request, limit, bound = (quantity.milli_value() for quantity in three)
        else:
            request, limit, bound = (quantity.value() for quantity in three)
        return request, limit, bound
