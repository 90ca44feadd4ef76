"""One write as watchers see it: which selectors it enters, stays in or leaves.

Source of the rule: cacheWatcher.convertToWatchEvent in k8s.io/apiserver/pkg/storage/cacher.
"""

from __future__ import annotations

from podbay.apiserver.storage.entry import Change, Entry, Predicate, with_version

__all__ = ["Event"]


class Event:
    """A write: `new` is None for a deletion, `old` is None for a creation.

    `departed` is what a DELETED carries: the object as it was before, at the version of the write. It is made
    on first use, because most writes leave no selector.
    """

    __slots__ = ("_added", "_deleted", "_departed", "_modified", "new", "old", "version")

    def __init__(
        self, version: int, *, new: Entry | None, old: Entry | None, departed: Entry | None = None
    ) -> None:
        self.version = version
        self.new = new
        self.old = old
        self._departed = departed
        self._added: Change | None = None
        self._modified: Change | None = None
        self._deleted: Change | None = None

    def seen_by(self, selects: Predicate | None) -> Change | None:
        """The change for a watcher with this selector, None when it does not concern it."""
        new, old = self.new, self.old
        if new is not None and (selects is None or selects(new.labels, new.fields)):
            if old is not None and (selects is None or selects(old.labels, old.fields)):
                if self._modified is None:
                    self._modified = Change("MODIFIED", new)
                return self._modified
            if self._added is None:
                self._added = Change("ADDED", new)
            return self._added
        if old is not None and (selects is None or selects(old.labels, old.fields)):
            return self._left(old)
        return None

    def _left(self, old: Entry) -> Change:
        if self._deleted is None:
            if self._departed is None:
                self._departed = with_version(old, self.version)
            self._deleted = Change("DELETED", self._departed)
        return self._deleted
