"""The versioned store: one SQLite file, one counter of resource versions, a history that watches resume from.

Plays the part of etcd and of kube-apiserver's watch cache. It knows keys, labels, selectable fields and bytes;
it does not know kinds. All methods are synchronous and run on the server's event loop, so a read followed by a
write in one turn is atomic. Current objects are served from memory; the file (file.py) holds them and the past.

What a crash may cost: nothing that was acknowledged when the process is killed; the newest writes when the
machine loses power (never a damaged file). Sources of the behaviour: k8s.io/apiserver/pkg/storage/{etcd3,cacher}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import orjson

from podbay.aio.clock import Clock, SystemClock
from podbay.apiserver import status
from podbay.apiserver.storage import listing
from podbay.apiserver.storage.entry import Change, Entry, Page, Predicate, raw_of, with_version
from podbay.apiserver.storage.event import Event
from podbay.apiserver.storage.file import StateFile
from podbay.apiserver.storage.options import invalid_version, parse_version, too_large_version
from podbay.apiserver.storage.timeline import Timeline
from podbay.apiserver.storage.watch import MAX_PENDING, Subscriptions, Watcher, WatchScope
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

_COMPACTED_AT_ONCE: Final = 2_000
"""Changes that one call of `compact` forgets at most, so that it holds up no request for longer than a few
hundredths of a second."""

_MODIFIED_MESSAGE: Final = (
    "the object has been modified; please apply your changes to the latest version and try again"
)


class Store:
    """Objects by resource key ("pods", "roles.rbac.authorization.k8s.io"), namespace ("" if none) and name.

    Any method may raise StateError when the file fails (disk full, damaged); nothing has changed then.
    """

    def __init__(
        self,
        timeline: Timeline,
        *,
        history_limit: int,
        history_seconds: float,
        max_pending: int,
        clock: Clock,
    ) -> None:
        """Use `open`."""
        self._timeline = timeline
        self._history_limit = history_limit
        self._history_seconds = history_seconds
        self._max_pending = max_pending
        self._clock = clock
        self._subscriptions = Subscriptions()
        self._closed = False

    @classmethod
    def open(
        cls,
        path: Path | None,
        *,
        history_limit: int = HISTORY_LIMIT,
        history_seconds: float = HISTORY_SECONDS,
        max_pending: int = MAX_PENDING,
        clock: Clock | None = None,
    ) -> Store:
        """Open or create the file at path for this process alone; None keeps everything in memory.

        max_pending is how many changes may wait for a slow watch before it is ended.
        Raises ConflictError when another process has it, StateError when it is from a newer version, damaged or
        not writable.
        """
        file = StateFile(path)
        try:
            return cls(
                Timeline(file),
                history_limit=history_limit,
                history_seconds=history_seconds,
                max_pending=max_pending,
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
            self._timeline.close()

    @property
    def version(self) -> int:
        """The version of the last write."""
        return self._timeline.version

    @property
    def compacted(self) -> int:
        """The version up to which history is gone; this very version can still be read."""
        return self._timeline.compacted

    @property
    def watcher_count(self) -> int:
        """How many watches are open."""
        return len(self._subscriptions)

    def count(self, key: str, namespace: str | None = None) -> int:
        """How many objects a resource has, in one namespace or all."""
        return self._timeline.collection(key).count(namespace)

    def entries(self, key: str, namespace: str | None = None) -> list[Entry]:
        """The current objects of a resource in key order, in one namespace or all."""
        return list(self._timeline.collection(key).scan(namespace))

    def collection_version(self, key: str) -> int:
        """A number that grows with every write to a resource, for caches of what was derived from it."""
        return self._timeline.collection(key).version

    def get(self, key: str, namespace: str | None, name: str, *, resource_version: str = "") -> Entry | None:
        """The object, or None. resource_version is the least version that will do.

        Raises the 504 for a version in the future and kube-apiserver's answer to a malformed one.
        """
        if resource_version:
            wanted = parse_version(resource_version)
            if not isinstance(wanted, int):
                raise invalid_version(wanted)
            self._check_reached(wanted)
        return self._timeline.collection(key).get(namespace or "", name)

    def create(self, key: str, obj: Object, *, fields: Mapping[str, str]) -> Entry:
        """Store a new object and write its resourceVersion into it. Raises 409 AlreadyExists."""
        namespace, name = namespace_of(obj), name_of(obj)
        if self.get(key, namespace, name) is not None:
            raise status.already_exists(_group_resource(key), name)
        entry = self._entry(obj, self.version + 1, fields)
        self._commit(key, Event(entry.version, new=entry, old=None))
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
        metadata_of(obj)["resourceVersion"] = str(old.version)
        if _same(raw_of(obj), old.raw):
            return old
        entry = self._entry(obj, self.version + 1, fields)
        self._commit(key, Event(entry.version, new=entry, old=old))
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
        version = self.version + 1
        departed = with_version(old, version) if final is None else self._entry(final, version, old.fields)
        event = Event(version, new=None, old=old, departed=departed)
        self._commit(key, event, final=departed if final is not None else None)
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
        self._check_reached(plan.at or plan.not_older_than)
        if plan.at and plan.at < self.compacted:
            raise listing.expired(plan)
        version = plan.at or self.version
        collection = self._timeline.at(key, version)
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
        resource_version_match: str = "",
        allow_bookmarks: bool = False,
        send_initial_events: bool | None = None,
    ) -> Watcher:
        """Changes of a resource, in one namespace or all (None), of one name or all (None), after a version.

        From "" or "0" it starts with the current objects as ADDED, unless send_initial_events is False. With
        send_initial_events and allow_bookmarks a bookmark marked `initial_events_end` follows them. A version that
        is compacted, or too far ahead for initial events, gives one ERROR change and the end. The options must
        have passed `check_list_options`. Raises kube-apiserver's answer to a malformed version.
        """
        # Whatever passed the check means what send_initial_events says already.
        del resource_version_match
        if self._closed:
            raise ClosedError("the store is closed; no watch is possible any more")
        scope = WatchScope(key, namespace, name)
        wanted = parse_version(resource_version)
        if not isinstance(wanted, int):
            raise invalid_version(wanted)
        initial = wanted == 0 if send_initial_events is None else send_initial_events
        if initial and wanted > self.version:
            return self._failed_watch(scope, too_large_version(wanted, self.version))
        if not initial and 0 < wanted < self.compacted:
            message = f"too old resource version: {wanted} ({self.compacted})"
            return self._failed_watch(scope, status.expired(message))
        if initial:
            mark_end = bool(send_initial_events) and allow_bookmarks
            watcher = self._watcher(
                scope, predicate, self._current_changes(scope, predicate, mark_end=mark_end)
            )
        else:
            watcher = self._watcher(
                scope, predicate, self._past_changes(scope, predicate, wanted or self.version)
            )
            watcher.start_after(max(wanted, self.version))
        self._subscriptions.add(watcher)
        return watcher

    def compact(self, upto: int | None = None) -> int:
        """Forget history up to a version, or a part of what is over the limits when None; gives what is compacted.

        The server calls it every few seconds; writes call it when history is over its limit.
        """
        if upto is None:
            upto = self._timeline.due(
                limit=self._history_limit,
                written_before=self._clock.now().timestamp() - self._history_seconds,
                most=_COMPACTED_AT_ONCE,
            )
        self._timeline.compact(upto)
        return self.compacted

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

    def _commit(self, key: str, event: Event, *, final: Entry | None = None) -> None:
        """Write an event, then tell the watchers. Only the first can fail, and changes nothing then."""
        if self._closed:
            raise ClosedError("the store is closed; no write is possible any more")
        self._timeline.write(key, event, written=self._clock.now().timestamp(), final=final)
        shown = event.new or event.old
        assert shown is not None
        self._subscriptions.dispatch(key, shown.namespace, shown.name, event)
        if len(self._timeline) > self._history_limit + _SLACK:
            # The write has happened: a failure to tidy up is not the writer's. The next one tries again.
            with suppress(StateError):
                self.compact()

    def _check_reached(self, version: int) -> None:
        if version > self.version:
            raise too_large_version(version, self.version)

    def _watcher(
        self, scope: WatchScope, predicate: Predicate | None, backlog: Iterator[Change | None]
    ) -> Watcher:
        return Watcher(
            scope,
            predicate,
            backlog=backlog,
            max_pending=self._max_pending,
            version=self._current_version,
            forget=self._subscriptions.remove,
        )

    def _current_version(self) -> int:
        return self.version

    def _failed_watch(self, scope: WatchScope, error: ApiError) -> Watcher:
        return self._watcher(scope, None, iter((Change.error(error), None)))

    def _current_changes(
        self, scope: WatchScope, predicate: Predicate | None, *, mark_end: bool
    ) -> Iterator[Change]:
        collection, version = self._timeline.collection(scope.resource), self.version
        # The objects of this moment; what is written while the client reads them comes after.
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
        records = self._timeline.records(scope.resource, scope.namespace, scope.name, after=version)

        def changes() -> Iterator[Change | None]:
            for event in self._timeline.replay(records):
                change = None if event is None else event.seen_by(predicate)
                if event is None or change is not None:
                    yield change

        return changes()


def _same(new: bytes, old: bytes) -> bool:
    # Members in another order make the same length; telling that from a change takes a parse.
    return new == old or (len(new) == len(old) and orjson.loads(new) == orjson.loads(old))


def _group_resource(key: str) -> GroupResource:
    resource, _, group = key.partition(".")
    return GroupResource(group, resource)
