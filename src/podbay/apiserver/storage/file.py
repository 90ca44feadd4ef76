"""The SQLite file under the store: every version of every object that history still needs, in one table.

The table is etcd's idea of multi-version storage. A write appends one row whose key is the resourceVersion, so
it costs the same however much is stored. The newest row of an object is its state; older rows are history;
compaction drops what no later read can ask for.

Durability: a write is in the hands of the operating system before `append` returns, so killing the process loses
nothing. The file runs in WAL mode with synchronous=NORMAL: after a power cut the newest writes (those after the
last checkpoint) may be gone, but the file is whole and its versions are those of an earlier moment.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from podbay.errors import ConflictError, StateError

__all__ = ["SCHEMA_VERSION", "Row", "StateFile"]

SCHEMA_VERSION: Final = 1
_APPLICATION_ID: Final = 0x50_6F_64_42
"""Marks the file as ours in the SQLite header ("PodB")."""

FIRST_VERSION: Final = 100
"""Where the counter of a new store stands. Like on a real cluster, version 1 lies in the compacted past."""

ADDED, MODIFIED, DELETED = 0, 1, 2

_LOCK_SECONDS: Final = 0.2
"""How long to wait for a process that is just closing the file. Nobody else may have it, so longer is in vain."""

_LOG_BYTES: Final = 16 * 2**20
"""What the write-ahead log keeps of the disk once a burst of writes is over."""

_SCHEMA = """
CREATE TABLE versions (
    version INTEGER PRIMARY KEY,
    resource TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    change INTEGER NOT NULL,
    previous INTEGER NOT NULL,
    written REAL NOT NULL,
    attributes BLOB NOT NULL,
    raw BLOB NOT NULL
) STRICT;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
"""

_MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {}
"""Schema version -> what brings a file of that version to the next one, inside one transaction."""

_COLUMNS = "version, resource, namespace, name, change, previous, written, attributes, raw"


@dataclass(slots=True)
class Row:
    """One write. previous is the version it replaced, 0 for a creation; written is in Unix seconds.

    attributes is the JSON of [labels, fields]. A deletion has neither attributes nor raw, unless the object left
    in another form than it was stored in.
    """

    version: int
    resource: str
    namespace: str
    name: str
    change: int
    previous: int
    written: float
    attributes: bytes = field(repr=False)
    raw: bytes = field(repr=False)


class StateFile:
    """An open state file, locked for this process alone. Every method may raise StateError."""

    def __init__(self, path: Path | None) -> None:
        """Open or create; path None keeps all in memory.

        Raises ConflictError when another process has the file, StateError when it cannot be used.
        """
        self._label = "the state in memory" if path is None else str(path)
        self._connection = self._connect(path)
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._connection.close()
            raise self._explained(error) from error
        except (ConflictError, StateError):
            self._connection.close()
            raise

    def _connect(self, path: Path | None) -> sqlite3.Connection:
        try:
            if path is not None:
                _create_private(path)
            return sqlite3.connect(
                path or ":memory:", timeout=_LOCK_SECONDS, isolation_level=None, check_same_thread=False
            )
        except OSError as error:
            raise StateError(
                f"cannot open the state file {self._label}: {error.strerror}; "
                "make the file and its directory writable or choose another one"
            ) from error
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def _prepare(self) -> None:
        run = self._connection.execute
        run("PRAGMA locking_mode=EXCLUSIVE")
        # First look, then change: a file that is not ours stays as it is.
        with self._transaction():
            self._check_ours()
        run("PRAGMA journal_mode=WAL")
        run("PRAGMA synchronous=NORMAL")
        run("PRAGMA temp_store=MEMORY")
        run(f"PRAGMA journal_size_limit={_LOG_BYTES}")
        with self._transaction():
            self._bring_up_to_date()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        run = self._connection.execute
        run("BEGIN EXCLUSIVE")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                run("ROLLBACK")
            raise
        run("COMMIT")

    def _check_ours(self) -> None:
        if self._has_tables() and self._one("PRAGMA application_id") != _APPLICATION_ID:
            raise StateError(f"{self._label} is a database of another program; choose another state file")
        found = self._one("PRAGMA user_version")
        if found > SCHEMA_VERSION:
            raise StateError(
                f"the state file {self._label} has schema {found}, this version knows up to {SCHEMA_VERSION}; "
                "use the newer version of podbay that wrote it, or reset the cluster"
            )

    def _bring_up_to_date(self) -> None:
        run = self._connection.execute
        found = self._one("PRAGMA user_version")
        if not self._has_tables():
            for statement in _SCHEMA.split(";\n"):
                run(statement)
            self._set_counter("compacted", FIRST_VERSION)
            run(f"PRAGMA application_id={_APPLICATION_ID}")
            found = SCHEMA_VERSION
        while found < SCHEMA_VERSION:
            migrate = _MIGRATIONS.get(found)
            if migrate is None:
                raise StateError(
                    f"the state file {self._label} has schema {found}, which nothing here can read any more; "
                    "reset the cluster"
                )
            migrate(self._connection)
            found += 1
        run(f"PRAGMA user_version={found}")

    def _has_tables(self) -> bool:
        return self._one("SELECT count(*) FROM sqlite_schema") > 0

    def compacted(self) -> int:
        """The version up to which history is gone."""
        return self._one("SELECT value FROM counters WHERE name = 'compacted'")

    def newest(self) -> int:
        """The highest version ever given that still has a row, 0 without rows."""
        return self._one("SELECT coalesce(max(version), 0) FROM versions")

    def current(self) -> Iterator[Row]:
        """The state: the newest row of each object that exists."""
        return self._rows(
            f"SELECT {_COLUMNS} FROM versions WHERE change != {DELETED}"
            " AND version NOT IN (SELECT previous FROM versions)"
        )

    def history(self, after: int) -> Iterator[Row]:
        """Every write after a version in order, without attributes and raw."""
        return self._rows(
            "SELECT version, resource, namespace, name, change, previous, written, x'', x''"
            " FROM versions WHERE version > ? ORDER BY version",
            after,
        )

    def read(self, version: int) -> Row | None:
        """The row of one version, None when it is compacted."""
        return next(self._rows(f"SELECT {_COLUMNS} FROM versions WHERE version = ?", version), None)

    def append(self, row: Row) -> None:
        """Write one row; it is committed when this returns and absent when this raises."""
        try:
            self._connection.execute(
                "INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    row.version,
                    row.resource,
                    row.namespace,
                    row.name,
                    row.change,
                    row.previous,
                    row.written,
                    row.attributes,
                    row.raw,
                ),
            )
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def compact(self, after: int, upto: int) -> None:
        """Forget the history up to and including `upto`; up to `after` it is forgotten already.

        What goes: every row that a write in the range replaced, and the deletions in the range. The newest row of
        each object stays.
        """
        run = self._connection.execute
        try:
            with self._transaction():
                run(
                    "DELETE FROM versions WHERE version IN"
                    " (SELECT previous FROM versions WHERE version > ? AND version <= ? AND previous > 0)",
                    (after, upto),
                )
                run(
                    f"DELETE FROM versions WHERE version > ? AND version <= ? AND change = {DELETED}",
                    (after, upto),
                )
                self._set_counter("compacted", upto)
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def close(self) -> None:
        """Write the log back into the file and release the lock."""
        try:
            self._connection.close()
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def _set_counter(self, name: str, value: int) -> None:
        self._connection.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (name, value))

    def _one(self, sql: str) -> int:
        try:
            row = self._connection.execute(sql).fetchone()
        except sqlite3.Error as error:
            raise self._explained(error) from error
        if row is None:
            raise StateError(f"the state file {self._label} is damaged: a counter is missing; {_RESTORE}")
        return row[0]  # type: ignore[no-any-return]

    def _rows(self, sql: str, *values: int) -> Iterator[Row]:
        try:
            for row in self._connection.execute(sql, values):
                yield Row(*row)
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def _explained(self, error: sqlite3.Error) -> StateError | ConflictError:
        """One sentence with the fix for what SQLite reports."""
        name = getattr(error, "sqlite_errorname", None) or ""
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return ConflictError(
                f"the state file {self._label} is in use by another process; "
                "stop that cluster first or choose another name"
            )
        for prefix, sentence in _EXPLANATIONS:
            if name.startswith(prefix):
                return StateError(f"the state file {self._label} {sentence} ({error})")
        return StateError(f"the state file {self._label} cannot be used: {error}")


def _create_private(path: Path) -> None:
    """Make the file, unless it is there, so that nobody else can read the Secrets in it even for a moment.

    An existing file must not be opened here: closing it again would drop the lock that another Store of this
    process holds on it (POSIX locks belong to the process).
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        # SQLite finds out by trying, and what it says then depends on the file system.
        if not (_is_writable(path) and _is_writable(path.parent)):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path)) from None


def _is_writable(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


_RESTORE = "restore it from a copy or reset the cluster"
_EXPLANATIONS = (
    ("SQLITE_FULL", "cannot grow: the disk is full; free some space and try again"),
    ("SQLITE_IOERR", "cannot be read or written; check the disk"),
    ("SQLITE_NOTADB", f"is damaged: it is not a database; {_RESTORE}"),
    ("SQLITE_CORRUPT", f"is damaged; {_RESTORE}"),
    ("SQLITE_READONLY", "is not writable; make the file and its directory writable"),
    ("SQLITE_CANTOPEN", "cannot be opened; make its directory writable"),
    ("SQLITE_PERM", "is not writable; make the file and its directory writable"),
)
