"""The directory of a process in the background: private to its owner, held by a lock, with a note of who runs in it."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from podbay.embedded.private_files import write_private
from podbay.errors import ConflictError, StateError

__all__ = ["ProcessHome"]


@dataclass(frozen=True)
class ProcessHome:
    """process.json has the running process's facts, lock is held by it for as long as it lives."""

    directory: Path

    def create(self) -> None:
        """Make the directory, private to its owner. Raises StateError with the fix."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as err:
            raise StateError(
                f"cannot create {self.directory}: {err.strerror}. Make its parent writable, or set PODBAY_HOME "
                "to a directory that is."
            ) from err

    def hold(self, *, taken: str) -> IO[bytes]:
        """Make this process the holder until the file is closed. Raises ConflictError(taken) when there is one."""
        self.create()
        try:
            file = (self.directory / "lock").open("ab")
        except OSError as err:
            raise StateError(
                f"cannot write in {self.directory}: {err.strerror}. Make it writable, or set PODBAY_HOME."
            ) from err
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            file.close()
            raise ConflictError(taken) from err
        return file

    def is_held(self) -> bool:
        """A live process holds the lock; a note of a process proves nothing."""
        try:
            with (self.directory / "lock").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def write_process(self, facts: Mapping[str, Any]) -> None:
        """Note the facts of this process, as a whole or not at all."""
        write_private(self.directory / "process.json", orjson.dumps(facts))

    def read_process(self) -> dict[str, Any]:
        """What the running process noted; empty when there is nothing to read."""
        try:
            parsed = orjson.loads((self.directory / "process.json").read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            return {}
        return parsed if isinstance(parsed, dict) else {}

    def forget_process(self) -> None:
        (self.directory / "process.json").unlink(missing_ok=True)
