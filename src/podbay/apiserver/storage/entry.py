"""What goes in and out of the store: entries, pages of a list, changes of a watch.

Plain values. Not for deciding which changes a watch gets (event.py) nor for keeping them (store.py).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import orjson

from podbay.errors import ApiError
from podbay.objects.meta import Object

__all__ = ["Change", "ChangeType", "Entry", "Page", "Predicate", "raw_of", "with_version"]

ChangeType: TypeAlias = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]

Predicate: TypeAlias = Callable[[Mapping[str, str], Mapping[str, str]], bool]
"""(labels, fields) -> selected; fields always include metadata.name and metadata.namespace."""

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
"""The annotation of the bookmark that ends the initial events (metav1.InitialEventsAnnotationKey)."""


@dataclass(slots=True)
class Entry:
    """One stored object, never changed once made.

    raw is its JSON without apiVersion and kind (list items are sent like that); it carries
    metadata.resourceVersion already, and is left out of the repr because it may be a Secret. labels and fields
    serve selectors without parsing raw.
    """

    namespace: str
    name: str
    version: int
    raw: bytes = field(repr=False)
    labels: Mapping[str, str]
    fields: Mapping[str, str]

    def object(self) -> Object:
        """A fresh parse, the caller's own (no apiVersion and kind in it)."""
        return orjson.loads(self.raw)  # type: ignore[no-any-return]


@dataclass(slots=True)
class Page:
    """The answer to a list. continue_token is empty on the last page; remaining is None when unknown."""

    entries: list[Entry]
    version: int
    continue_token: str = ""
    remaining: int | None = None


@dataclass(slots=True)
class Change:
    """One event for one watcher, already seen through its selector (leaving it is DELETED, entering is ADDED).

    Watchers of the same event share the instance, so what `encoded` makes is made once. The entry of a
    BOOKMARK has nothing but metadata.resourceVersion (and the annotation that ends the initial events); the
    entry of an ERROR holds the whole `kind: Status` object, apiVersion and kind included.
    """

    type: ChangeType
    entry: Entry
    initial_events_end: bool = False
    _encodings: dict[Hashable, bytes] | None = field(default=None, repr=False, compare=False)

    def encoded(self, encoder: Hashable, encode: Callable[[Change], bytes]) -> bytes:
        """What `encode` makes of this change, remembered under `encoder` for all watchers that share it."""
        if self._encodings is None:
            self._encodings = {}
        data = self._encodings.get(encoder)
        if data is None:
            data = self._encodings[encoder] = encode(self)
        return data

    @classmethod
    def bookmark(cls, version: int, *, initial_events_end: bool = False) -> Change:
        metadata: Object = {"resourceVersion": str(version)}
        if initial_events_end:
            metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
        raw = orjson.dumps({"metadata": metadata})
        return cls("BOOKMARK", Entry("", "", version, raw, {}, {}), initial_events_end)

    @classmethod
    def error(cls, error: ApiError) -> Change:
        return cls("ERROR", Entry("", "", 0, orjson.dumps(error.status()), {}, {}))


def raw_of(obj: Object) -> bytes:
    """The stored form of obj: its JSON without apiVersion and kind."""
    return orjson.dumps({k: v for k, v in obj.items() if k not in ("apiVersion", "kind")})


def with_version(entry: Entry, version: int) -> Entry:
    """The same object carrying another resourceVersion."""
    obj = entry.object()
    obj["metadata"]["resourceVersion"] = str(version)
    return Entry(entry.namespace, entry.name, version, orjson.dumps(obj), entry.labels, entry.fields)
