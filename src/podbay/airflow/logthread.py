"""A triggerer's log records are written by a thread of their own.

Airflow's process of triggers writes each record into a socket that its supervisor reads, and waits while that is full. The
supervisor in turn waits for that process to take what it sends, which is much: a whole DAG for each task that starts in the
triggerer. If both wait at once, the triggerer stands still for ever, alive and without a word. So the event loop, which is
what takes the supervisor's messages, must never wait for the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any, Final

__all__ = ["LogThread", "TriggerLog", "log_thread"]

MOST_CHARACTERS: Final = 4 << 20
"""That wait to be written; beyond them pods' lines wait in the cluster."""
PATIENCE_SECONDS: Final = 60.0
"""For a supervisor that reads nothing; Airflow gives it up after half of that."""

Write = Callable[[], object]


class LogThread:
    """Calls what it is given, one after the other, each in the context it was given in."""

    def __init__(self, most: int = MOST_CHARACTERS) -> None:
        self._most = most
        self._queue: SimpleQueue[tuple[Write, int]] = SimpleQueue()
        self._lock = threading.Lock()
        self._characters = 0
        self._thread: threading.Thread | None = None

    def put(self, write: Write, size: int = 0) -> None:
        """Have it called soon; `size` in characters."""
        with self._lock:
            self._characters += size
            # Of a process that was forked, the thread is its parent's.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._live, name="podbay-log", daemon=True)
                self._thread.start()
        self._queue.put((partial(copy_context().run, write), size))

    def _live(self) -> None:
        while True:
            write, size = self._queue.get()
            try:
                write()
            except Exception as error:  # noqa: BLE001 - as logging does: a record must not end anything
                with contextlib.suppress(Exception):
                    sys.stderr.write(f"A log record could not be written: {error!r}\n")
            with self._lock:
                self._characters -= size

    async def written(self) -> None:
        """Wait until all that was put so far is written. Raises TimeoutError."""
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def tell() -> None:
            # The loop may have been closed meanwhile.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(done.set)

        self.put(tell)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await done.wait()

    async def room(self) -> None:
        """Wait as long as too much waits to be written."""
        while self._characters > self._most:
            with contextlib.suppress(TimeoutError):
                await self.written()


_thread: LogThread | None = None


def log_thread() -> LogThread:
    """The process's."""
    global _thread  # noqa: PLW0603 - as the log itself
    if _thread is None:
        _thread = LogThread()
        _divert_libraries(_thread)
    return _thread


class TriggerLog(logging.Logger):
    """A logger that writes to another one, which may be Airflow's (structlog), by the thread."""

    def __init__(self, target: Any, thread: LogThread | None = None) -> None:
        super().__init__(getattr(target, "name", None) or "podbay.task")
        self.thread = thread or log_thread()
        self.propagate = False
        self.addHandler(_ThreadHandler(self.thread, partial(_forward, target)))


def _forward(target: Any, record: logging.LogRecord) -> None:
    target.log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)


class _ThreadHandler(logging.Handler):
    def __init__(self, thread: LogThread, write: Callable[[logging.LogRecord], object]) -> None:
        super().__init__()
        self._thread = thread
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        # Rendered now: its arguments may change.
        text = record.getMessage()
        record.msg, record.args = text, None
        self._thread.put(partial(self._write, record), len(text))


def _divert_libraries(thread: LogThread) -> None:
    """What Podbay's other parts say, in Airflow's process of triggers alone: elsewhere nobody may stand still for it."""
    runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    channel = getattr(runner, "SUPERVISOR_COMMS", None)
    if type(channel).__name__ != "TriggerCommsDecoder":
        return
    logger = logging.getLogger("podbay")
    logger.propagate = False
    logger.addHandler(_ThreadHandler(thread, logging.getLogger().callHandlers))
