"""What a verb gives back, before anything is encoded for a wire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from podbay.apiserver.registry import ResourceType
from podbay.apiserver.storage import Entry, ListOptions, Page, Predicate
from podbay.objects.meta import Object

__all__ = [
    "ListResult",
    "MeasuredResult",
    "ObjectResult",
    "PlainResult",
    "StreamResult",
    "VerbResult",
    "WatchResult",
    "shown",
]


@dataclass(slots=True)
class ObjectResult:
    """One object: stored (entry, encoded without a parse) or made for this answer (obj).

    type is the resource it belongs to, None for kinds that no resource serves (Status).
    """

    status: int = 200
    entry: Entry | None = None
    obj: Object | None = None
    type: ResourceType | None = None
    warnings: Sequence[str] = ()

    def object(self) -> Object:
        """The object as the caller's own, with apiVersion and kind."""
        if self.obj is not None:
            return shown(self.type, self.obj) if self.type is not None else self.obj
        assert self.entry is not None
        assert self.type is not None
        return shown(self.type, self.entry.object())


def shown(resource: ResourceType, obj: Object) -> Object:
    """A stored object as its resource shows it, with apiVersion and kind; obj belongs to the caller."""
    if resource.from_storage is not None:
        obj = resource.from_storage(obj)
    return {**obj, "kind": resource.kind, "apiVersion": resource.gvr.api_version}


@dataclass(slots=True)
class ListResult:
    """One page of a collection."""

    type: ResourceType
    page: Page
    warnings: Sequence[str] = ()


@dataclass(slots=True)
class PlainResult:
    """A body that is not an API object: health words, metrics, OpenAPI documents, discovery."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class WatchResult:
    """A watch was granted; whoever serves it opens the watcher and closes it. timeout is in seconds."""

    type: ResourceType
    namespace: str | None
    name: str | None
    predicate: Predicate | None
    options: ListOptions
    timeout_seconds: int | None = None


@dataclass(slots=True)
class StreamResult:
    """pods/log, exec, attach and portforward: authorised and found; the wire side takes over."""

    kind: str
    pod: Object


@dataclass(slots=True)
class MeasuredResult:
    """A measurement was granted; whoever serves it waits for the nodes (measuring.measure). name: one object."""

    type: ResourceType
    namespace: str | None
    name: str
    predicate: Predicate | None = None


VerbResult = ObjectResult | ListResult | PlainResult | WatchResult | StreamResult | MeasuredResult
