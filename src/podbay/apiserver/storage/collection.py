"""The current objects of one resource in memory, in the order a list gives them.

The order is the byte order of "namespace/name" as etcd has it. Adding and removing cost a dictionary write and
a binary search; nothing is ever sorted as a whole.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping

from podbay.apiserver.storage.entry import Entry

__all__ = ["Collection"]


class _Bucket:
    """The objects of one namespace: by name, and the names in order."""

    __slots__ = ("entries", "names")

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.names: list[str] = []

    def copy(self) -> _Bucket:
        twin = _Bucket()
        twin.entries = dict(self.entries)
        twin.names = list(self.names)
        return twin

    def put(self, entry: Entry) -> None:
        if entry.name not in self.entries:
            insort(self.names, entry.name)
        self.entries[entry.name] = entry

    def remove(self, name: str) -> None:
        if self.entries.pop(name, None) is not None:
            del self.names[bisect_left(self.names, name)]


class Collection:
    """Objects of one resource; cluster-scoped ones live in the namespace "".

    A start key is what a continue token holds: "namespace/name" for a list over all namespaces of a namespaced
    resource, "name" within one namespace or for a cluster-scoped resource; keys at or after it are given.
    `version` is that of the last write in the collection, or a later one; 0 before the first.
    """

    __slots__ = ("_buckets", "_order", "version")

    def __init__(self) -> None:
        self.version = 0
        self._buckets: dict[str, _Bucket] = {}
        self._order: list[str] = []

    def get(self, namespace: str, name: str) -> Entry | None:
        bucket = self._buckets.get(namespace)
        return None if bucket is None else bucket.entries.get(name)

    def put(self, entry: Entry) -> None:
        bucket = self._buckets.get(entry.namespace)
        if bucket is None:
            bucket = self._buckets[entry.namespace] = _Bucket()
            insort(self._order, _prefix(entry.namespace))
        bucket.put(entry)

    def remove(self, namespace: str, name: str) -> None:
        bucket = self._buckets.get(namespace)
        if bucket is None:
            return
        bucket.remove(name)
        if not bucket.entries:
            del self._buckets[namespace]
            prefix = _prefix(namespace)
            del self._order[bisect_left(self._order, prefix)]

    def scan(self, namespace: str | None, start: str = "") -> Iterator[Entry]:
        """Entries in key order from the start key on; namespace None means all."""
        for bucket, position in self._ranges(namespace, start):
            entries = bucket.entries
            names = bucket.names if position == 0 else bucket.names[position:]
            for name in names:
                yield entries[name]

    def named(self, namespace: str | None, name: str) -> list[Entry]:
        """The entry of that name, or one of each namespace when namespace is None."""
        if namespace is not None:
            entry = self.get(namespace, name)
            return [] if entry is None else [entry]
        buckets = (self._buckets[_namespace(prefix)] for prefix in self._order)
        return [bucket.entries[name] for bucket in buckets if name in bucket.entries]

    def count(self, namespace: str | None, start: str = "") -> int:
        """How many entries `scan` would give."""
        return sum(len(bucket.names) - position for bucket, position in self._ranges(namespace, start))

    def rewound(self, before: Mapping[tuple[str, str], Entry | None]) -> Collection:
        """A copy in which the named objects are as given (None: absent); untouched namespaces are shared."""
        past = Collection()
        past._buckets = dict(self._buckets)
        past._order = list(self._order)
        for namespace in {namespace for namespace, _ in before}:
            if namespace in past._buckets:
                past._buckets[namespace] = past._buckets[namespace].copy()
        for (namespace, name), entry in before.items():
            if entry is None:
                past.remove(namespace, name)
            else:
                past.put(entry)
        return past

    def _ranges(self, namespace: str | None, start: str) -> Iterator[tuple[_Bucket, int]]:
        if namespace is not None:
            bucket = self._buckets.get(namespace)
            if bucket is not None:
                yield bucket, bisect_left(bucket.names, start)
            return
        for prefix in self._order:
            bucket = self._buckets[_namespace(prefix)]
            if not start or prefix > start:
                yield bucket, 0
            elif start.startswith(prefix):
                yield bucket, bisect_left(bucket.names, start[len(prefix) :])


def _prefix(namespace: str) -> str:
    # The slash takes part in the order: "a-b/x" comes before "a/x".
    return f"{namespace}/" if namespace else ""


def _namespace(prefix: str) -> str:
    return prefix[:-1]
