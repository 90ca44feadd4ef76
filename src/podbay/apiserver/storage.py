"""The versioned store: one SQLite file, one counter of resource versions, a history that watches resume from.

Plays the part of etcd and of kube-apiserver's watch cache. It knows keys, labels, selectable fields and bytes;
it does not know kinds. All methods are synchronous and run on the server's event loop, so a read followed by a
write in one turn is atomic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson

from podbay.objects.meta import Object

__all__ = ["Change", "Entry", "Page", "Store", "Watcher"]


@dataclass(slots=True)
class Entry:
    """One stored object. raw is its JSON without apiVersion and kind (list items are sent like that);
    it carries metadata.resourceVersion already. labels and fields serve selectors without parsing raw."""

    namespace: str
    name: str
    version: int
    raw: bytes
    labels: Mapping[str, str]
    fields: Mapping[str, str]

    def object(self) -> Object:
        """A fresh parse, the caller's own (no apiVersion and kind in it)."""
        return orjson.loads(self.raw)  # type: ignore[no-any-return]


Predicate = Callable[[Mapping[str, str], Mapping[str, str]], bool]
"""(labels, fields) -> selected; fields always include metadata.name and metadata.namespace."""


@dataclass(slots=True)
class Page:
    """The answer to a list. continue_token is empty on the last page; remaining is None when unknown."""

    entries: list[Entry]
    version: int
    continue_token: str = ""
    remaining: int | None = None


@dataclass(slots=True)
class Change:
    """One event for one watcher, already seen through its selector (leaving it is DELETED, entering is ADDED)."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    entry: Entry
    initial_events_end: bool = False


class Watcher:
    """A subscription to changes; see Store.watch."""


class Store:
    """See the module docstring. `path` None keeps everything in memory."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
