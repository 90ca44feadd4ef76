"""The objects as they are now and as they were at every version that history still reaches.

Joins memory (collection.py, history.py) and file (file.py) so that they always tell the same: a write goes to the
file first and to memory only when the file has it. Not for what a request may ask of it: store.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from podbay.apiserver.storage.collection import Collection
from podbay.apiserver.storage.entry import Entry
from podbay.apiserver.storage.event import Event
from podbay.apiserver.storage.file import ADDED, DELETED, MODIFIED, Row, StateFile
from podbay.apiserver.storage.history import History, Record
from podbay.errors import StateError

__all__ = ["Timeline"]


class Timeline:
    """Reads and writes at versions. Every method may raise StateError."""

    def __init__(self, file: StateFile) -> None:
        self._file = file
        self._collections: dict[str, Collection] = {}
        self._history = History()
        self.compacted = file.compacted()
        """The version up to which history is gone; that very version can still be read."""
        self.version = max(self.compacted, file.newest())
        """The version of the last write."""
        self._load()

    def __len__(self) -> int:
        """How many writes history holds."""
        return len(self._history)

    def collection(self, resource: str) -> Collection:
        """The current objects of a resource."""
        collection = self._collections.get(resource)
        if collection is None:
            collection = self._collections[resource] = Collection()
        return collection

    def write(self, resource: str, event: Event, *, written: float, final: Entry | None = None) -> None:
        """Make an event part of the timeline; nothing has changed when this raises.

        written is in Unix seconds; final is the last state of a deleted object that differs from the stored one.
        """
        stored, shown = event.new or final, event.new or event.old
        assert shown is not None
        row = Row(
            version=event.version,
            resource=resource,
            namespace=shown.namespace,
            name=shown.name,
            change=DELETED if event.new is None else ADDED if event.old is None else MODIFIED,
            previous=event.old.version if event.old is not None else 0,
            written=written,
            attributes=orjson.dumps([stored.labels, stored.fields]) if stored is not None else b"",
            raw=stored.raw if stored is not None else b"",
        )
        self._file.append(row)
        self.version = event.version
        self._history.append(Record(row))
        collection = self.collection(resource)
        collection.version = event.version
        if event.new is not None:
            collection.put(event.new)
        else:
            collection.remove(shown.namespace, shown.name)

    def at(self, resource: str, version: int) -> Collection:
        """The objects of a resource at a version that is neither compacted nor in the future."""
        current = self.collection(resource)
        before: dict[tuple[str, str], Entry | None] = {}
        for record in self._history.since(resource, version):
            identity = (record.namespace, record.name)
            if identity not in before:
                before[identity] = self._entry(record, record.previous)
        return current.rewound(before) if before else current

    def records(self, resource: str, namespace: str | None, name: str | None, *, after: int) -> list[Record]:
        """What happened after a version to the objects of a resource; None is any namespace, any name."""
        records = self._history.since(resource, after)
        if namespace is None and name is None:
            return records
        return [r for r in records if namespace in (None, r.namespace) and name in (None, r.name)]

    def replay(self, records: list[Record]) -> Iterator[Event | None]:
        """The events of records, read as they are asked for; None, and no more, once they are compacted."""
        for record in records:
            if record.version <= self.compacted:
                yield None
                return
            old, new = self._entry(record, record.previous), self._entry(record, record.version)
            if record.change == DELETED:
                yield Event(record.version, new=None, old=old, departed=new)
            else:
                yield Event(record.version, new=new, old=old)

    def due(self, *, limit: int, written_before: float, most: int) -> int:
        """The version to compact at so that no more than `limit` writes, and none too old, are left.

        At most `most` writes are given up at once.
        """
        return self._history.due(limit=limit, written_before=written_before, most=most)

    def compact(self, upto: int) -> None:
        """Forget history up to and including a version."""
        upto = min(upto, self.version)
        if upto > self.compacted:
            self._file.compact(self.compacted, upto)
            self._history.forget(upto)
            self.compacted = upto

    def close(self) -> None:
        self._file.close()

    def _load(self) -> None:
        try:
            for row in self._file.current():
                self.collection(row.resource).put(_entry_of(row))
        except (ValueError, TypeError) as error:
            raise StateError(
                f"the state file is damaged: {error}; restore it from a copy or reset the cluster"
            ) from error
        for row in self._file.history(self.compacted):
            self._history.append(Record(row))
        for collection in self._collections.values():
            collection.version = self.version

    def _entry(self, record: Record, version: int) -> Entry | None:
        """An object of a record as a version wrote it; None for version 0 and for a deletion."""
        if not version:
            return None
        current = self.collection(record.resource).get(record.namespace, record.name)
        if current is not None and current.version == version:
            return current
        row = self._file.read(version)
        return _entry_of(row) if row is not None and row.raw else None


def _entry_of(row: Row) -> Entry:
    labels, fields = orjson.loads(row.attributes)
    return Entry(row.namespace, row.name, row.version, row.raw, labels, fields)
