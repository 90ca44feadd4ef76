"""The window of past writes in memory: small records that say what happened at which version.

Watches resume and snapshots rewind by these records; the bytes stay in the file (file.py) and are read only for
the records that matter. Not for deciding when to forget: store.py asks `due`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Iterator
from itertools import islice
from operator import attrgetter

from podbay.apiserver.storage.file import Row

__all__ = ["History", "Record"]


class Record:
    """One write without its bytes; the fields are those of `Row`."""

    __slots__ = ("change", "name", "namespace", "previous", "resource", "version", "written")

    def __init__(self, row: Row) -> None:
        self.version = row.version
        self.resource = row.resource
        self.namespace = row.namespace
        self.name = row.name
        self.change = row.change
        self.previous = row.previous
        self.written = row.written


_BY_VERSION = attrgetter("version")


class History:
    """Records in the order of their versions, as a whole and by resource."""

    def __init__(self) -> None:
        self._all: deque[Record] = deque()
        self._by_resource: defaultdict[str, list[Record]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self._all)

    def append(self, record: Record) -> None:
        self._all.append(record)
        self._by_resource[record.resource].append(record)

    def since(self, resource: str, version: int) -> list[Record]:
        """The records of a resource after a version."""
        records = self._by_resource.get(resource)
        if not records or records[-1].version <= version:
            return []
        return records[bisect_right(records, version, key=_BY_VERSION) :]

    def due(self, *, limit: int, written_before: float, most: int) -> int:
        """The version up to which records, `most` of them at most, are over the limit or too old; 0 when none is."""
        upto = 0
        excess = len(self._all) - limit
        for position, record in enumerate(islice(self._all, most)):
            if position >= excess and record.written >= written_before:
                break
            upto = record.version
        return upto

    def forget(self, upto: int) -> None:
        """Drop the records up to and including a version."""
        touched = {record.resource for record in self._drop(upto)}
        for resource in touched:
            records = self._by_resource[resource]
            del records[: bisect_right(records, upto, key=_BY_VERSION)]
            if not records:
                del self._by_resource[resource]

    def _drop(self, upto: int) -> Iterator[Record]:
        while self._all and self._all[0].version <= upto:
            yield self._all.popleft()
