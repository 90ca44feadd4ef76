"""The versioned store: one SQLite file, one counter of resource versions, a history that watches resume from.

Plays the part of etcd and of kube-apiserver's watch cache. It knows keys, labels, selectable fields and bytes;
it does not know kinds. All methods are synchronous and run on the server's event loop, so a read followed by a
write in one turn is atomic. Current objects are served from memory; the file (file.py) holds them and the past.

What a crash may cost: nothing that was acknowledged when the process is killed; the newest writes when the
machine loses power (never a damaged file). Sources of the behaviour: k8s.io/apiserver/pkg/storage/{etcd3,cacher}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import orjson

from podbay.aio.clock import Clock, SystemClock
from podbay.apiserver import status
from podbay.apiserver.storage import listing
from podbay.apiserver.storage.collection import Collection
from podbay.apiserver.storage.entry import Change, Entry, Page, Predicate, raw_of, with_version
from podbay.apiserver.storage.event import Event
from podbay.apiserver.storage.file import ADDED, DELETED, MODIFIED, Row, StateFile
from podbay.apiserver.storage.history import History, Record
from podbay.apiserver.storage.options import invalid_version, parse_version, too_large_version
from podbay.apiserver.storage.watch import Subscriptions, Watcher, WatchScope
from podbay.errors import ApiError, ClosedError, StateError
from podbay.objects.meta import Object, labels_of, metadata_of, name_of, namespace_of
from podbay.objects.resource import GroupResource

__all__ = ["Store"]

HISTORY_LIMIT: Final = 20_000
"""Changes kept at most. A record costs about 200 bytes of memory and one row of the file; 20,000 let 5,000 pods go
through their whole lives while a slow client still finds the version it stopped at."""

HISTORY_SECONDS: Final = 300.0
"""Age in seconds up to which changes are kept: a real kube-apiserver compacts etcd every five minutes."""

_SLACK: Final = 256
"""Changes over the limit before a write compacts, so that the cost of compaction is spread over many writes."""

_MODIFIED_MESSAGE: Final = (
    "the object has been modified; please apply your changes to the latest version and try again"
)


class Store:
    """Objects by resource key ("pods", "roles.rbac.authorization.k8s.io"), namespace ("" if none) and name.

    Any method may raise StateError when the file fails (disk full, damaged); nothing has changed then.
    """

    def __init__(self, file: StateFile, *, history_limit: int, history_seconds: float, clock: Clock) -> None:
        """Use `open`."""
        self._file = file
        self._history_limit = history_limit
        self._history_seconds = history_seconds
        self._clock = clock
        self._collections: dict[str, Collection] = {}
        self._history = History()
        self._subscriptions = Subscriptions()
        self._closed = False
        self._compacted = file.compacted()
        self._version = max(self._compacted, file.newest())
        self._load()

    @classmethod
    def open(
        cls,
        path: Path | None,
        *,
        history_limit: int = HISTORY_LIMIT,
        history_seconds: float = HISTORY_SECONDS,
        clock: Clock | None = None,
    ) -> Store:
        """Open or create the file at path for this process alone; None keeps everything in memory.

        Raises ConflictError when another process has it, StateError when it is from a newer version, damaged or
        not writable.
        """
        file = StateFile(path)
        try:
            return cls(
                file,
                history_limit=history_limit,
                history_seconds=history_seconds,
                clock=clock or SystemClock(),
            )
        except BaseException:
            file.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all watches and release the file. Does nothing the second time."""
        if not self._closed:
            self._closed = True
            self._subscriptions.close()
            self._file.close()

    @property
    def version(self) -> int:
        """The version of the last write."""
        return self._version

    @property
    def compacted(self) -> int:
        """The version up to which history is gone; this very version can still be read."""
        return self._compacted

    @property
    def watchers(self) -> int:
        """How many watches are open."""
        return len(self._subscriptions)

    def count(self, key: str, namespace: str | None = None) -> int:
        """How many objects a resource has."""
        collection = self._collections.get(key)
        return 0 if collection is None else collection.count(namespace)

    def get(self, key: str, namespace: str | None, name: str, *, resource_version: str = "") -> Entry | None:
        """The object, or None. resource_version is the least version that will do.

        Raises the 504 for a version in the future and kube-apiserver's answer to a malformed one.
        """
        self._check_reached(resource_version)
        collection = self._collections.get(key)
        return None if collection is None else collection.get(namespace or "", name)

    def create(self, key: str, obj: Object, *, fields: Mapping[str, str]) -> Entry:
        """Store a new object and write its resourceVersion into it. Raises 409 AlreadyExists."""
        namespace, name = namespace_of(obj), name_of(obj)
        if self.get(key, namespace, name) is not None:
            raise status.already_exists(_group_resource(key), name)
        entry = self._entry(obj, self._version + 1, fields)
        self._commit(key, ADDED, Event(entry.version, new=entry, old=None))
        return entry

    def update(
        self, key: str, obj: Object, *, fields: Mapping[str, str], expected: int | None = None
    ) -> Entry:
        """Replace an object, of version `expected` unless None, and write its new resourceVersion into it.

        An update that changes nothing makes no new version: the stored entry comes back.
        Raises 404 NotFound and 409 Conflict.
        """
        namespace, name = namespace_of(obj), name_of(obj)
        old = self._existing(key, namespace, name, expected)
        unchanged = self._entry(obj, old.version, fields)
        if _same(unchanged, old):
            return old
        entry = self._entry(obj, self._version + 1, fields)
        self._commit(key, MODIFIED, Event(entry.version, new=entry, old=old))
        return entry

    def delete(
        self,
        key: str,
        namespace: str | None,
        name: str,
        *,
        expected: int | None = None,
        final: Object | None = None,
    ) -> Entry:
        """Remove an object, of version `expected` unless None; gives its last state at the version of the deletion.

        final is that last state when it differs from the stored one. Raises 404 NotFound and 409 Conflict.
        """
        old = self._existing(key, namespace or "", name, expected)
        version = self._version + 1
        departed = with_version(old, version) if final is None else self._entry(final, version, old.fields)
        event = Event(version, new=None, old=old, departed=departed)
        self._commit(key, DELETED, event, final=departed if final is not None else None)
        return departed

    def list(
        self,
        key: str,
        namespace: str | None = None,
        *,
        predicate: Predicate | None = None,
        name: str | None = None,
        resource_version: str = "",
        resource_version_match: str = "",
        limit: int = 0,
        continue_token: str = "",
    ) -> Page:
        """Objects in key order: of one namespace or all (None), selected by predicate (None: all), at a version.

        name is for lists that can have one object only (`metadata.name=x` in a namespace). The options must have
        passed `check_list_options`. Raises 400 for a bad version or token, 410 for one whose history is
        compacted, 504 for a version in the future.
        """
        plan = listing.plan(
            resource_version,
            resource_version_match,
            limit=limit,
            continue_token=continue_token,
            single=name is not None,
        )
        try:
            collection = self._at(key, plan.at, plan.not_older_than)
        except ApiError as error:
            raise listing.explained(error, plan) from None
        version = plan.at or self._version
        if name is not None and not plan.start:
            return listing.single(collection, namespace, name, predicate, version=version)
        return listing.page(collection, namespace, predicate, plan=plan, version=version)

    def watch(
        self,
        key: str,
        namespace: str | None = None,
        *,
        predicate: Predicate | None = None,
        name: str | None = None,
        resource_version: str = "",
        allow_bookmarks: bool = False,
        send_initial_events: bool | None = None,
    ) -> Watcher:
        """Changes of a resource, in one namespace or all (None), of one name or all (None), after a version.

        From "" or "0" it starts with the current objects as ADDED, unless send_initial_events is False. With
        send_initial_events and allow_bookmarks a bookmark marked `initial_events_end` follows them. A version that
        is compacted, or too far ahead for initial events, gives one ERROR change and the end. The options must
        have passed `check_list_options`. Raises kube-apiserver's answer to a malformed version.
        """
        scope = WatchScope(key, namespace, name)
        wanted = parse_version(resource_version)
        if not isinstance(wanted, int):
            raise invalid_version(wanted)
        initial = wanted == 0 if send_initial_events is None else send_initial_events
        if initial and wanted > self._version:
            return self._failed_watch(scope, too_large_version(wanted, self._version))
        if not initial and 0 < wanted < self._compacted:
            return self._failed_watch(
                scope, status.expired(f"too old resource version: {wanted} ({self._compacted})")
            )
        backlog: Iterator[Change | None]
        if initial:
            backlog = self._current_changes(
                scope, predicate, mark_end=bool(send_initial_events) and allow_bookmarks
            )
        else:
            backlog = self._past_changes(scope, predicate, wanted or self._version)
        watcher = self._watcher(scope, predicate, backlog)
        watcher.start_after(max(wanted, self._version))
        self._subscriptions.add(watcher)
        return watcher

    def compact(self, upto: int | None = None) -> int:
        """Forget history up to a version, or what is over the limits when None; gives the compacted version.

        The server calls it every minute or so; writes call it when history is over its limit.
        """
        if upto is None:
            now = self._clock.now().timestamp()
            upto = self._history.due(limit=self._history_limit, written_before=now - self._history_seconds)
        upto = min(upto, self._version)
        if upto > self._compacted:
            self._file.compact(self._compacted, upto)
            self._history.forget(upto)
            self._compacted = upto
        return self._compacted

    def _load(self) -> None:
        try:
            for row in self._file.current():
                self._collection(row.resource).put(_entry_of(row))
        except orjson.JSONDecodeError as error:
            raise StateError(
                f"the state file is damaged: {error}; restore it from a copy or reset the cluster"
            ) from error
        for row in self._file.history(self._compacted):
            self._history.append(Record(row))

    def _collection(self, key: str) -> Collection:
        collection = self._collections.get(key)
        if collection is None:
            collection = self._collections[key] = Collection()
        return collection

    def _existing(self, key: str, namespace: str, name: str, expected: int | None) -> Entry:
        entry = self.get(key, namespace, name)
        if entry is None:
            raise status.not_found(_group_resource(key), name)
        if expected is not None and expected != entry.version:
            raise status.conflict(_group_resource(key), name, _MODIFIED_MESSAGE)
        return entry

    def _entry(self, obj: Object, version: int, fields: Mapping[str, str]) -> Entry:
        namespace, name = namespace_of(obj), name_of(obj)
        metadata_of(obj)["resourceVersion"] = str(version)
        fields = {"metadata.name": name, "metadata.namespace": namespace, **fields}
        return Entry(namespace, name, version, raw_of(obj), dict(labels_of(obj)), fields)

    def _commit(self, key: str, change: int, event: Event, *, final: Entry | None = None) -> None:
        """Write to the file, then to memory, then tell the watchers. The first step alone can fail."""
        if self._closed:
            raise ClosedError("the store is closed; no write is possible any more")
        shown = event.new or event.old
        assert shown is not None
        stored = event.new or final
        row = Row(
            version=event.version,
            resource=key,
            namespace=shown.namespace,
            name=shown.name,
            change=change,
            previous=event.old.version if event.old is not None else 0,
            written=self._clock.now().timestamp(),
            attributes=orjson.dumps([stored.labels, stored.fields]) if stored is not None else b"",
            raw=stored.raw if stored is not None else b"",
        )
        self._file.append(row)
        self._version = event.version
        self._history.append(Record(row))
        if event.new is not None:
            self._collection(key).put(event.new)
        else:
            self._collection(key).remove(shown.namespace, shown.name)
        self._subscriptions.dispatch(key, shown.namespace, shown.name, event)
        if len(self._history) > self._history_limit + _SLACK:
            self.compact()

    def _check_reached(self, resource_version: str) -> None:
        if resource_version:
            wanted = parse_version(resource_version)
            if not isinstance(wanted, int):
                raise invalid_version(wanted)
            if wanted > self._version:
                raise too_large_version(wanted, self._version)

    def _at(self, key: str, version: int, not_older_than: int) -> Collection:
        """The objects of a resource as they were at a version, 0 for now."""
        wanted = version or not_older_than
        if wanted > self._version:
            raise too_large_version(wanted, self._version)
        if version and version < self._compacted:
            raise status.expired(listing.EXPIRED)
        current = self._collection(key)
        records = self._history.since(key, version) if version else []
        if not records:
            return current
        before: dict[tuple[str, str], Entry | None] = {}
        for record in records:
            identity = (record.namespace, record.name)
            if identity not in before:
                before[identity] = self._past_entry(key, record, record.previous) if record.previous else None
        return current.rewound(before)

    def _past_entry(self, key: str, record: Record, version: int) -> Entry | None:
        """An object as a version wrote it; None when that is compacted."""
        current = self._collection(key).get(record.namespace, record.name)
        if current is not None and current.version == version:
            return current
        row = self._file.read(version)
        return None if row is None or not row.raw else _entry_of(row)

    def _watcher(
        self, scope: WatchScope, predicate: Predicate | None, backlog: Iterator[Change | None]
    ) -> Watcher:
        return Watcher(
            scope,
            predicate,
            backlog=backlog,
            version=lambda: self._version,
            forget=self._subscriptions.remove,
        )

    def _failed_watch(self, scope: WatchScope, error: ApiError) -> Watcher:
        return self._watcher(scope, None, iter((Change.error(error), None)))

    def _current_changes(
        self, scope: WatchScope, predicate: Predicate | None, *, mark_end: bool
    ) -> Iterator[Change]:
        collection, version = self._collection(scope.resource), self._version
        if scope.name is None:
            entries = list(collection.scan(scope.namespace))
        else:
            entries = collection.named(scope.namespace, scope.name)

        def changes() -> Iterator[Change]:
            for entry in entries:
                if predicate is None or predicate(entry.labels, entry.fields):
                    yield Change("ADDED", entry)
            if mark_end:
                yield Change.bookmark(version, initial_events_end=True)

        return changes()

    def _past_changes(
        self, scope: WatchScope, predicate: Predicate | None, version: int
    ) -> Iterator[Change | None]:
        records = [
            record
            for record in self._history.since(scope.resource, version)
            if scope.namespace in (None, record.namespace) and scope.name in (None, record.name)
        ]

        def changes() -> Iterator[Change | None]:
            for record in records:
                event = (
                    None if record.version <= self._compacted else self._past_event(scope.resource, record)
                )
                if event is None:
                    # Compacted while the client was still reading.
                    yield None
                    return
                change = event.seen_by(predicate)
                if change is not None:
                    yield change

        return changes()

    def _past_event(self, key: str, record: Record) -> Event | None:
        old = self._past_entry(key, record, record.previous) if record.previous else None
        new = self._past_entry(key, record, record.version)
        if record.change == DELETED:
            return Event(record.version, new=None, old=old, departed=new)
        return None if new is None else Event(record.version, new=new, old=old)


def _same(new: Entry, old: Entry) -> bool:
    if new.raw == old.raw:
        return True
    # Members in another order make the same length; telling that from a change takes a parse.
    return len(new.raw) == len(old.raw) and new.object() == old.object()


def _entry_of(row: Row) -> Entry:
    labels, fields = orjson.loads(row.attributes)
    return Entry(row.namespace, row.name, row.version, row.raw, labels, fields)


def _group_resource(key: str) -> GroupResource:
    resource, _, group = key.partition(".")
    return GroupResource(group, resource)
