"""Container logs in the CRI format: reading, following through rotations, rotating.

One line of a file is `time stream F|P text`. Source: kubernetes design "CRI: Log management for container stdout/stderr";
pkg/kubelet/logs/container_log_manager.go for rotation.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime
from pathlib import Path

from podbay.node.kernel import IN_CREATE, IN_MODIFY, IN_MOVED_TO
from podbay.node.observed import ContainerStatus, LogLine
from podbay.node.runc.inotify import FileWatch
from podbay.node.runc.line_order import LineOrder
from podbay.node.specs import LogQuery

__all__ = ["LineParser", "follow_log", "log_size", "rotate_log"]

_CHUNK = 256 << 10
_UNORDERED = 8
"""How many lines may stand behind one that is shown after them."""
_POLL_SECONDS = 1.0
"""A change that inotify did not tell of is seen after that."""


class LineParser:
    """Bytes of a log file in, lines out; an unfinished line waits for its rest."""

    def __init__(self) -> None:
        self._rest = b""
        self._second = b""
        self._epoch = 0

    def feed(self, data: bytes) -> list[LogLine]:
        """The complete lines; damaged ones (a power cut) are skipped."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        parsed = [self._parse(line) for line in lines]
        return [line for line in parsed if line is not None]

    def _parse(self, line: bytes) -> LogLine | None:
        fields = line.split(b" ", 3)
        if len(fields) < 4 or fields[1] not in (b"stdout", b"stderr"):
            return None
        when = self._time(fields[0])
        if when is None:
            return None
        return LogLine(
            when, "stdout" if fields[1] == b"stdout" else "stderr", fields[2][:1] == b"P", fields[3]
        )

    def _time(self, text: bytes) -> int | None:
        second, _, rest = text.partition(b".")
        zone = rest.lstrip(b"0123456789")
        digits = rest[: len(rest) - len(zone)]
        # Many lines share a second, and reading a date is the dearest part of a line.
        if second + zone != self._second:
            try:
                self._epoch = int(datetime.fromisoformat((second + zone).decode()).timestamp())
            except ValueError:
                return None
            self._second = second + zone
        return self._epoch * 1_000_000_000 + int(digits.ljust(9, b"0")[:9]) if digits else None


def log_size(path: Path) -> int:
    """Bytes of the current file and the rotated ones."""
    total = 0
    for entry in path.parent.glob(f"{path.name}*"):
        try:
            total += entry.stat().st_size
        except FileNotFoundError:
            continue
    return total


def rotate_log(path: Path, *, stamp: str, keep: int, reopen: Callable[[], object]) -> None:
    """Put the current file aside, let conmon open a new one, compress the one before, keep `keep` files in all."""
    rotated = sorted(p for p in path.parent.glob(f"{path.name}.*") if not p.name.endswith(".tmp"))
    for old in rotated:
        if not old.name.endswith(".gz"):
            _compress(old)
    rotated = sorted(path.parent.glob(f"{path.name}.*"))
    # The current file and the one put aside now count too.
    for old in rotated[: max(0, len(rotated) - (keep - 2))]:
        old.unlink(missing_ok=True)
    path.rename(path.with_name(f"{path.name}.{stamp}"))
    reopen()


def _compress(path: Path) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with path.open("rb") as source, gzip.open(temporary, "wb") as target:
        shutil.copyfileobj(source, target, _CHUNK)
    temporary.rename(path.with_name(path.name + ".gz"))
    path.unlink()


async def follow_log(
    path: Path,
    query: LogQuery,
    watch: FileWatch,
    *,
    ended: Callable[[], bool],
    end: asyncio.Future[ContainerStatus | None],
) -> AsyncGenerator[Sequence[LogLine], None]:
    """Lines of the current file and, with follow, of the files after it until the container has ended.

    `ended` says whether it has; `end` is done when that changes, for the end of a container writes to no log. As `kubectl logs` on a real node, files that were rotated away before are not read.
    """
    reader = _LogReader(path, query)
    if not reader.open():
        return
    changed = asyncio.Event()
    end.add_done_callback(lambda _: changed.set())
    unwatch = watch.add(path.parent, IN_MODIFY | IN_CREATE | IN_MOVED_TO, lambda _: changed.set())
    try:
        while True:
            changed.clear()
            # Both asked before reading: what is written afterwards is seen by the next turn.
            over, successor = ended(), reader.successor()
            while (lines := reader.read()) is not None:
                if lines:
                    yield lines
                await asyncio.sleep(0)
            if successor is not None:
                reader.move_to(successor)
            elif over or not query.follow:
                if lines := reader.rest():
                    yield lines
                return
            else:
                await _wait(changed)
    finally:
        unwatch()
        reader.close()


async def _wait(changed: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(changed.wait(), _POLL_SECONDS)
    except TimeoutError:
        pass


class _LogReader:
    """Reads one container's log from file to file."""

    def __init__(self, path: Path, query: LogQuery) -> None:
        self._path = path
        self._query = query
        self._descriptor = -1
        self._parser = LineParser()
        self._order = LineOrder()
        self._skip = 0

    def open(self) -> bool:
        """Open the current file at the place the query asks for. False when there is none."""
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        if self._query.tail_lines is not None:
            # A few more, since the last lines written need not be the last ones shown.
            asked = self._query.tail_lines
            offset, found = _tail_offset(self._descriptor, asked + _UNORDERED)
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            self._skip = max(0, found - asked)
        return True

    def close(self) -> None:
        os.close(self._descriptor)

    def read(self) -> list[LogLine] | None:
        """The lines of the next chunk; None at the end of the file."""
        data = os.read(self._descriptor, _CHUNK)
        if not data:
            return None
        return self._chosen(self._order.feed(self._parser.feed(data)))

    def rest(self) -> list[LogLine]:
        """What the log ends with, unfinished as it is."""
        return self._chosen(self._order.flush())

    def _chosen(self, lines: Sequence[LogLine]) -> list[LogLine]:
        skipped = min(self._skip, len(lines))
        self._skip -= skipped
        since = self._query.since_ns
        return [line for line in lines[skipped:] if line.time_ns >= since]

    def successor(self) -> Path | None:
        """The file that took over from the open one."""
        own = os.fstat(self._descriptor).st_ino
        rotated = sorted(
            p for p in self._path.parent.glob(f"{self._path.name}.*") if p.suffix not in (".gz", ".tmp")
        )
        files = [*rotated, self._path]
        numbers = [_inode(file) for file in files]
        following = files[numbers.index(own) + 1 :] if own in numbers else files
        # A new file exists only once conmon has let go of the one before.
        return next((file for file in following if _inode(file)), None)

    def move_to(self, path: Path) -> None:
        """Go on with another file."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._parser = LineParser()


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def _tail_offset(descriptor: int, lines: int) -> tuple[int, int]:
    """Where the last complete lines begin, and how many there are (fewer in a short file)."""
    position = end = os.fstat(descriptor).st_size
    missing = lines + 1
    while position > 0:
        start = max(0, position - _CHUNK)
        block = os.pread(descriptor, position - start, start)
        while missing and (found := block.rfind(b"\n")) >= 0:
            missing -= 1
            end = start + found + 1
            if not missing:
                return end, lines
            block = block[:found]
        position = start
    return (0 if missing else end), lines + 1 - missing
