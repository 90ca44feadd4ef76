"""Answers to metrics.k8s.io: the nodes concerned are asked at once, and their measurements become objects.

A node that does not answer, and a pod of which nothing was measured yet, are left out of lists, as metrics-server
leaves them out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from podbay.apiserver import status
from podbay.apiserver.kinds.metrics import node_metrics, pod_metrics
from podbay.apiserver.registry import ResourceType
from podbay.apiserver.result import ListResult, MeasuredResult, ObjectResult
from podbay.apiserver.storage import Entry, Page
from podbay.apiserver.storage.entry import raw_of
from podbay.apiserver.streams import NodeUsage, UsageMeter
from podbay.errors import PodbayError
from podbay.objects.meta import Object, labels_of, name_of, namespace_of, uid_of
from podbay.objects.resource import GroupResource

if TYPE_CHECKING:
    from podbay.apiserver.core import Core

__all__ = ["measure"]

_ANSWER_SECONDS = 10.0
"""How long a node may take; the others' measurements must not wait for it for ever."""


async def measure(core: Core, wanted: MeasuredResult) -> ListResult | ObjectResult:
    """Raises ApiError 404 for one object that does not exist or that no node has measured."""
    resource = wanted.type
    source = "pods" if resource.namespaced else "nodes"
    if wanted.name:
        return await _one(core, wanted, source)
    objects = [obj for obj in core.reader.list(source, wanted.namespace) if _selected(wanted, obj)]
    usages = await _ask(core, {_node_of(resource, obj) for obj in objects})
    found = [m for obj in objects if (m := _metrics(resource, obj, usages)) is not None]
    return ListResult(resource, Page([_entry(m) for m in found], core.store.version))


async def _one(core: Core, wanted: MeasuredResult, source: str) -> ObjectResult:
    shown = f"{wanted.namespace}/{wanted.name}" if wanted.namespace else wanted.name
    obj = core.reader.get(source, wanted.namespace or "", wanted.name)
    if obj is None:
        raise status.not_found(GroupResource("", source), shown)
    usages = await _ask(core, {_node_of(wanted.type, obj)})
    found = _metrics(wanted.type, obj, usages)
    if found is None:
        kind = wanted.type.kind.lower()
        raise status.not_found(GroupResource(wanted.type.gvr.group, kind), shown)
    return ObjectResult(200, obj=found, type=wanted.type)


def _selected(wanted: MeasuredResult, obj: Object) -> bool:
    fields = {"metadata.name": name_of(obj), "metadata.namespace": namespace_of(obj)}
    return wanted.predicate is None or wanted.predicate(labels_of(obj), fields)


def _node_of(resource: ResourceType, obj: Object) -> str:
    return str((obj.get("spec") or {}).get("nodeName") or "") if resource.namespaced else name_of(obj)


async def _ask(core: Core, names: Iterable[str]) -> dict[str, NodeUsage]:
    """Measurements by node name."""

    async def ask(name: str) -> NodeUsage | None:
        meter = core.nodes.get(name)
        if not isinstance(meter, UsageMeter):
            return None
        try:
            return await asyncio.wait_for(meter.usage(), _ANSWER_SECONDS)
        except (PodbayError, TimeoutError):
            return None

    names = sorted(names)
    answers = await asyncio.gather(*(ask(name) for name in names))
    return {name: usage for name, usage in zip(names, answers, strict=True) if usage is not None}


def _metrics(resource: ResourceType, obj: Object, usages: dict[str, NodeUsage]) -> Object | None:
    usage = usages.get(_node_of(resource, obj))
    if usage is None:
        return None
    if not resource.namespaced:
        return node_metrics(obj, usage)
    containers = usage.pods.get(uid_of(obj))
    return pod_metrics(obj, usage, containers) if containers else None


def _entry(obj: Object) -> Entry:
    return Entry(namespace_of(obj), name_of(obj), 0, raw_of(obj), labels_of(obj), {})
