"""A triggerer's log is passed on by a thread, so that nobody who writes to it ever waits.

Airflow's process of triggers writes its records into a socket that its supervisor reads, and waits while that is full. The
supervisor in turn waits for that process to take what it sends, which is much: a whole DAG for each task that starts in the
triggerer. If both wait at once, the triggerer stands still for ever, alive and without a word; and while the supervisor is
merely busy, no task of the triggerer goes on. Here a thread reads what is written and keeps it until the supervisor comes.

The supervisor reads 4 KiB of it at a time, between other things; when it hears that a task has ended, what it has not read
of that task's lines goes to its own log instead. So it hears that only when it has read them.
"""

from __future__ import annotations

import array
import asyncio
import atexit
import contextlib
import contextvars
import fcntl
import os
import selectors
import socket
import stat
import sys
import termios
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

__all__ = ["PATIENCE_SECONDS", "LogRelay", "hold_ends", "log_relay"]

MOST_BYTES: Final = 2 << 20
"""That wait for the supervisor, who may take 15 s for so many; beyond them the lines of pods wait in the cluster."""
KEPT_BYTES: Final = 64 << 20
"""More is not kept: writers wait then, as they do in Airflow."""
PATIENCE_SECONDS: Final = 150.0
"""For a supervisor that reads nothing: it waits two minutes for a SQLite file."""
EXIT_SECONDS: Final = 2.0
LOOK_SECONDS: Final = 0.02
_CHUNK: Final = 256 << 10


class LogRelay:
    """Stands between the writers of a file descriptor and the socket that it was."""

    def __init__(self, descriptor: int, *, most: int = MOST_BYTES, kept: int = KEPT_BYTES) -> None:
        self._most = most
        self._most_kept = kept
        self._target = socket.socket(fileno=os.dup(descriptor))
        self._target.setblocking(False)
        self._source, writers = socket.socketpair()
        with writers:
            os.dup2(writers.fileno(), descriptor, inheritable=False)
        self._source.setblocking(False)
        self._kept: deque[bytes] = deque()
        self._lock = threading.Lock()
        self._received = self._sent = self._read = 0
        self._hold: int | None = None
        """As soon as so many bytes are sent, no more are until those have been read: what is unread then is of them."""
        self._later = 0
        """The next such count, if it is more."""
        self._over = False
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._looking: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._live, name="podbay-log", daemon=True)
        self._thread.start()
        atexit.register(self._end)

    def _live(self) -> None:
        with self._target, selectors.DefaultSelector() as selector:
            known: dict[socket.socket, bool] = {}
            while self._kept or not self._over:
                held = self._is_held()
                room = self._received - self._sent < self._most_kept
                _listen(selector, known, self._source, selectors.EVENT_READ, room and not self._over)
                _listen(selector, known, self._target, selectors.EVENT_WRITE, bool(self._kept) and not held)
                found = selector.select(LOOK_SECONDS if held and self._kept else None)
                ready = {key.fileobj for key, _ in found}
                if self._source in ready:
                    self._take()
                if self._target in ready:
                    self._give()
            self._source.close()

    def _take(self) -> None:
        with self._lock:
            found = self._source.recv(_CHUNK)
            self._received += len(found)
            if found:
                self._kept.append(found)
            else:
                # Nobody can write any more.
                self._over = True

    def _give(self) -> None:
        while self._kept:
            with self._lock:
                most = _CHUNK if self._hold is None else self._hold - self._sent
                if most <= 0:
                    return
                found = self._kept[0]
                try:
                    count = self._target.send(found[:most])
                except BlockingIOError:
                    return
                except OSError:
                    # Nobody reads any more. Airflow notices by itself; those who write must not wait.
                    count = len(found)
                self._sent += count
                if count == len(found):
                    self._kept.popleft()
                else:
                    self._kept[0] = found[count:]

    def _is_held(self) -> bool:
        with self._lock:
            if self._hold is None or self._sent < self._hold:
                return False
            if self._is_unread():
                return True
            self._read = self._sent
            self._hold = self._later if self._later > self._read else None
            return False

    def _is_unread(self) -> bool:
        """Whether the supervisor's socket holds anything: Linux tells by what memory that takes."""
        taken = array.array("i", [0])
        try:
            fcntl.ioctl(self._target.fileno(), termios.TIOCOUTQ, taken)
        except (OSError, ValueError):
            # A system that does not tell, or a thread that has ended.
            return False
        return taken[0] > 0

    def _written(self) -> int:
        """Bytes, so far, by anybody. The lock must be held."""
        if self._over:
            return self._received
        waiting = array.array("i", [0])
        fcntl.ioctl(self._source.fileno(), termios.FIONREAD, waiting)
        return self._received + waiting[0]

    def mark(self) -> int:
        """For `has_read`: all that was written so far."""
        with self._lock:
            goal = self._later = self._written()
            if self._hold is None:
                self._hold = goal
        return goal

    def has_read(self, mark: int) -> bool:
        """Whether the supervisor has read so much."""
        if self._read < mark:
            self._is_held()
        return self._read >= mark

    async def passed_on(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the supervisor has read all that was written so far. Raises TimeoutError."""
        mark = self.mark()
        async with asyncio.timeout(seconds):
            await self._until(lambda: self._read >= mark)

    async def room(self) -> None:
        """Wait as long as too much is kept."""
        with self._lock:
            goal = self._written() - self._most
        await self._until(lambda: self._sent >= goal)

    async def _until(self, is_met: Callable[[], bool]) -> None:
        """One task looks for all, as hundreds may wait at once; the thread knows no event loop."""
        self._is_held()
        if is_met():
            return
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiters.append((is_met, future))
        if self._looking is None or self._looking.done():
            self._looking = loop.create_task(self._look(), context=contextvars.Context())
        await future

    async def _look(self) -> None:
        while self._waiters:
            await asyncio.sleep(LOOK_SECONDS)
            self._is_held()
            for is_met, future in self._waiters:
                if not future.done() and is_met():
                    future.set_result(None)
            self._waiters = [each for each in self._waiters if not each[1].done()]

    def _waiting(self) -> int:
        with self._lock:
            return self._written() - self._sent

    def _end(self) -> None:
        deadline = time.monotonic() + EXIT_SECONDS
        with contextlib.suppress(OSError):
            while self._waiting() and time.monotonic() < deadline:
                time.sleep(LOOK_SECONDS)


def _listen(
    selector: selectors.BaseSelector,
    known: dict[socket.socket, bool],
    of: socket.socket,
    event: int,
    wanted: bool,
) -> None:
    if known.get(of, False) != wanted:
        known[of] = wanted
        if wanted:
            selector.register(of, event)
        else:
            selector.unregister(of)


def hold_ends(relay: LogRelay, runner: Any) -> None:
    """Have Airflow's class of the process of triggers tell its supervisor that one has ended when its lines are read.

    With that news the supervisor closes the task's log. Of other operators' triggers, too: they wrote into the
    socket themselves before, so that their lines were there first.
    """
    clean = runner.cleanup_finished_triggers
    waiting: deque[tuple[int, float, int]] = deque()

    async def clean_what_is_read(self: Any) -> list[int]:
        ended = await clean(self)
        if ended:
            mark, deadline = relay.mark(), time.monotonic() + PATIENCE_SECONDS
            waiting.extend((mark, deadline, each) for each in ended)
        found = []
        while waiting and (relay.has_read(waiting[0][0]) or time.monotonic() > waiting[0][1]):
            found.append(waiting.popleft()[2])
        return found

    runner.cleanup_finished_triggers = clean_what_is_read


_relay: LogRelay | None = None


def log_relay() -> LogRelay | None:
    """Of Airflow's process of triggers; none elsewhere, where nobody may stand still for a log."""
    global _relay  # noqa: PLW0603 - as the log itself
    if _relay is None:
        descriptor = _descriptor()
        if descriptor is not None:
            _relay = LogRelay(descriptor)
            runner = getattr(sys.modules.get("airflow.jobs.triggerer_job_runner"), "TriggerRunner", None)
            if hasattr(runner, "cleanup_finished_triggers"):
                hold_ends(_relay, runner)
    return _relay


def _descriptor() -> int | None:
    runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    if type(getattr(runner, "SUPERVISOR_COMMS", None)).__name__ != "TriggerCommsDecoder":
        return None
    factory: Any = sys.modules["structlog"].get_config()["logger_factory"]
    try:
        found: int = factory.io.fileno()
        return found if stat.S_ISSOCK(os.fstat(found).st_mode) else None
    except (AttributeError, OSError, ValueError):
        return None
