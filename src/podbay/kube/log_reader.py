"""Reads the log of one container to its end, through cuts, restarts and turns at the slots.

How it knows the end: a stream that ended is no proof (an API server that lost its kubelet ends it just as properly).
The container's status must say that it has ended, and a further read must bring nothing new. So a log costs two
requests: one that follows, one that confirms.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from podbay.aio.backoff import Backoff
from podbay.aio.clock import Clock
from podbay.errors import ApiError, CredentialError, PodbayError, UnreachableError
from podbay.kube.client import KubeClient
from podbay.kube.log_attempts import Attempt, ContainerLogs
from podbay.kube.log_lines import LineSplitter, Piece, Position, Tracker
from podbay.kube.log_slots import LogSlots, Slot

__all__ = ["ContainerReader", "LogLine", "LogSink", "LogSource"]

CONFIRM_SECONDS = 0.25
"""How long the status may take to say what the end of the stream suggests, before the log is followed again."""
STUCK_SECONDS = 10.0
"""A stream that stays open so long after its container's end will not end by itself."""
GONE_SECONDS = 5.0
"""The same for a pod that has been deleted; nothing can be read anew then."""
PATIENCE_SECONDS = 180.0
"""How long the log of an ended container is asked for when the node does not give it."""
REFUSED_SECONDS = 60.0
"""How long 401 is borne: a token may have ended in this moment, and an API server that starts knows nobody yet."""
MISSES = 3
"""Complete reads without the known last line, after which the log counts as rotated to nothing."""
_DELAYS = Backoff(initial=0.1, maximum=5.0)
_KUBELET_EXCUSES = (b"unable to retrieve container logs for ", b"failed to try resolving symlinks in path ")
"""What a kubelet answers with status 200, without a stamp and a newline, when the file is gone."""
_NOT_FOLLOWED = (
    b"failed to create fsnotify watcher: ",
    b"failed to watch directory ",
    b"failed to watch file ",
)
"""What it ends a followed log with, in the same way, when its node has no inotify instances or watches left."""


class LogLine(NamedTuple):
    """A line, or a piece of one that is longer than 16 KiB."""

    container: str
    time_ns: int
    """When it was written, by the node's clock, in nanoseconds since 1970; 0 when unknown."""
    text: str
    """Without its newline; bytes that are no UTF-8 appear as \\xNN."""
    continues: bool = False
    """Another piece of the same line follows."""
    notice: bool = False
    """Said by Podbay about the log, not by the container."""


class LogSink(Protocol):
    """Takes lines over. `put` returns at once and never refuses; `room` waits until more is welcome."""

    def opened(self) -> None: ...

    def put(self, container: str, lines: Sequence[LogLine], position: Position | None) -> None: ...

    async def room(self) -> None: ...


@dataclass(frozen=True, slots=True)
class LogSource:
    """Where a pod's logs come from."""

    client: KubeClient
    slots: LogSlots
    clock: Clock
    namespace: str
    pod: str


@dataclass(slots=True)
class _Read:
    """How one read ended."""

    clean: bool = False
    error: PodbayError | None = None
    revoked: bool = False
    rest: bytes | None = None
    """What came after the last newline; None when the stream told that it ends before the log does."""


@dataclass(slots=True)
class _Progress:
    """What the reads of one attempt have told so far."""

    tracker: Tracker
    splitter: LineSplitter = field(default_factory=LineSplitter)
    rest: bytes | None = None
    """What the last read ended with after its last newline."""
    settled: bool = False
    misses: int = 0
    failures: int = 0
    failing_since: float | None = None
    unknown_since: float | None = None


class ContainerReader:
    """Owner calls `observe` and `pod_gone`; `run` ends when the container's logs have been read."""

    def __init__(self, source: LogSource, container: str, sink: LogSink, position: Position | None) -> None:
        self.container = container
        self._source = source
        self._sink = sink
        self._position = position
        self._logs = ContainerLogs()
        self._over = False
        self._gone = False
        self._changed = asyncio.Event()
        self._done: set[str] = set()
        self._reading: str | None = None
        self._slot: Slot | None = None
        self.over = False
        """Set by the owner when `run` has ended."""
        self.open = False
        """A stream of its log is open right now."""

    @property
    def attached(self) -> bool:
        """A stream is open, or what there is has been read."""
        return self.open or self.over or (self._reading is None and bool(self._done))

    def observe(self, logs: ContainerLogs, *, over: bool) -> None:
        """The pod's status has this to say of the container."""
        if logs == self._logs and over == self._over:
            return
        self._logs, self._over = logs, over
        if self._slot is not None and self._reading is not None:
            attempt = logs.find(self._reading)
            if attempt is None or attempt.ended:
                self._slot.revoke(after=STUCK_SECONDS)
        self._changed.set()

    def pod_gone(self) -> None:
        """The pod does not exist any more."""
        self._gone = True
        if self._slot is not None:
            self._slot.revoke(after=GONE_SECONDS)
        self._changed.set()

    async def run(self) -> None:
        """Raises ApiError when the cluster does not let us read logs."""
        while (attempt := await self._next_attempt()) is not None:
            self._reading = attempt.id
            await self._read_attempt(attempt.id)
            self._reading = None
            self._done.add(attempt.id)

    async def _next_attempt(self) -> Attempt | None:
        while True:
            attempts = self._logs.attempts
            if attempts and self._position is not None:
                self._resume(self._position, attempts)
            todo = [a for a in attempts if a.id not in self._done]
            if todo:
                return todo[0]
            if self._over or self._gone:
                return None
            await self._change()

    def _resume(self, position: Position, attempts: Sequence[Attempt]) -> None:
        """Go on where somebody stopped: attempts before that one have been read."""
        ids = [a.id for a in attempts]
        if position.attempt in ids:
            self._done.update(ids[: ids.index(position.attempt)])
        elif position.attempt not in self._done:
            self._notice(
                "the container was restarted more than once; the log of a run in between is gone", position
            )
            self._position = None

    async def _change(self, seconds: float | None = None) -> None:
        """Wait until the status says something else, at most so long."""
        self._changed.clear()
        if seconds is None:
            await self._changed.wait()
            return
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            pass

    async def _read_attempt(self, attempt_id: str) -> None:
        position = self._position
        if position is None or position.attempt != attempt_id:
            position = Position(attempt_id)
        progress = _Progress(Tracker(position))
        while True:
            attempt = self._logs.find(attempt_id)
            if attempt is None or self._gone:
                self._end_early(progress, vanished=attempt is None)
                return
            read = await self._read(attempt, progress)
            if read.clean:
                if await self._is_complete(attempt, read, progress):
                    return
            elif not read.revoked and not await self._bear(attempt, read, progress):
                return

    async def _read(self, attempt: Attempt, progress: _Progress) -> _Read:
        """One stream. Never raises what a later one may mend."""
        read = _Read()
        progress.splitter = LineSplitter()
        at = progress.tracker.begin()
        source = self._source
        async with source.slots.slot() as slot:
            self._slot = slot
            try:
                async with (
                    slot.revocable(),
                    source.client.logs(
                        source.namespace,
                        source.pod,
                        container=self.container,
                        follow=not attempt.ended,
                        previous=attempt.previous,
                        since=at.since,
                    ) as stream,
                    aclosing(stream.chunks()) as chunks,
                ):
                    self.open = True
                    self._sink.opened()
                    async for chunk in chunks:
                        self._take(progress, progress.splitter.feed(chunk))
                        await self._sink.room()
                read.clean, read.rest = True, _rest(progress.splitter)
            except (ApiError, UnreachableError, CredentialError) as err:
                read.error = err
            except TimeoutError:
                read.revoked = True
            finally:
                self._slot, self.open = None, False
        return read

    def _take(self, progress: _Progress, pieces: list[Piece]) -> None:
        """Hand on what is new. Without awaiting anything: position and lines go together or not at all."""
        pieces = [piece for piece in pieces if piece.time_ns is not None or not _is_of_kubelet(piece)]
        tracker = progress.tracker
        before, had_gap = tracker.position, tracker.gap
        new = tracker.take(pieces)
        if new and tracker.gap and not had_gap:
            self._sink.put(self.container, [self._gap_line(before, new[0])], None)
        self._put(progress, new)

    def _put(self, progress: _Progress, new: list[Piece]) -> None:
        if new:
            self._position = progress.tracker.position
            self._sink.put(self.container, list(self._lines(new)), self._position)

    def _lines(self, pieces: Iterable[Piece]) -> Iterable[LogLine]:
        container = self.container
        for time_ns, body, _, last in pieces:
            yield LogLine(container, time_ns or 0, _text(body), not last)

    def _gap_line(self, before: Position, first: Piece) -> LogLine:
        return self._notice_line(
            f"lines may be missing here: the node has rotated the log; the last line read is of {_clock(before.time_ns)}, "
            f"the next one of {_clock(first.time_ns or 0)}",
            first.time_ns or 0,
        )

    def _notice_line(self, text: str, time_ns: int = 0) -> LogLine:
        return LogLine(self.container, time_ns, f"[podbay] {self.container}: {text}", notice=True)

    def _notice(self, text: str, position: Position | None) -> None:
        self._sink.put(self.container, [self._notice_line(text)], position)

    async def _is_complete(self, attempt: Attempt, read: _Read, progress: _Progress) -> bool:
        """The stream ended properly: was that the end of the log?"""
        progress.failures, progress.failing_since, progress.unknown_since = 0, None, None
        tracker = progress.tracker
        nothing_new = tracker.fresh == 0 and read.rest == progress.rest
        progress.misses = progress.misses + 1 if nothing_new and not tracker.found else 0
        progress.rest = read.rest
        # A stream that follows may end before its container does, so only a read that began after that end confirms.
        progress.settled = nothing_new and tracker.found and attempt.ended
        if not attempt.ended:
            await self._await_end(attempt.id, _DELAYS.delay(5) if nothing_new else CONFIRM_SECONDS)
        now = self._logs.find(attempt.id)
        if now is None or not now.ended:
            return False
        if progress.settled:
            self._take(progress, progress.splitter.finish())
            return True
        if attempt.ended and progress.misses >= MISSES:
            self._notice("lines may be missing here: the node has rotated the log", tracker.position)
            self._put(progress, tracker.give_up())
            self._take(progress, progress.splitter.finish())
            return True
        return False

    async def _await_end(self, attempt_id: str, seconds: float) -> None:
        """Wait until the status tells of the attempt's end, at most so long."""
        deadline = self._source.clock.monotonic() + seconds
        while (left := deadline - self._source.clock.monotonic()) > 0:
            now = self._logs.find(attempt_id)
            if now is None or now.ended or self._gone:
                return
            await self._change(left)

    async def _bear(self, attempt: Attempt, read: _Read, progress: _Progress) -> bool:
        """The stream could not be opened or broke; False when there is no use in trying on."""
        error = read.error
        assert error is not None
        if isinstance(error, ApiError) and error.code == 403:
            raise error
        progress.rest = None
        now = self._source.clock.monotonic()
        # Old lines are no progress: each read repeats some, and breaks as the one before did.
        fresh = progress.tracker.fresh > 0
        if fresh:
            progress.failures, progress.failing_since, progress.unknown_since = 0, None, None
        progress.failures += 1
        # While it runs its log may come late; only what has ended is given up.
        progress.failing_since = (progress.failing_since or now) if attempt.ended else None
        if not (isinstance(error, ApiError) and error.code == 401):
            progress.unknown_since = None
        else:
            progress.unknown_since = progress.unknown_since or now
            if now - progress.unknown_since > REFUSED_SECONDS:
                raise error
        if progress.failing_since is not None and now - progress.failing_since > PATIENCE_SECONDS:
            self._notice(f"the log could not be read to its end: {error}", progress.tracker.position)
            return False
        if not (fresh and progress.failures == 1):
            await self._change(_DELAYS.delay(progress.failures - 1))
        return True

    def _end_early(self, progress: _Progress, *, vanished: bool) -> None:
        """The pod, or this run of the container, cannot be asked for any more."""
        excused = progress.splitter.rest.startswith(_KUBELET_EXCUSES)
        if progress.rest is not None and progress.tracker.found and not excused:
            # The last stream ended properly; nobody can confirm it, and nothing speaks against it.
            self._take(progress, progress.splitter.finish())
            return
        what = "the container was restarted" if vanished else "the pod was deleted"
        self._notice(f"{what} before its log was read to the end", progress.tracker.position)


def _is_of_kubelet(piece: Piece) -> bool:
    """Words about the log instead of a line of it. Raises ApiError when they say that there is no log."""
    if piece.time_ns is not None or piece.number:
        return False
    if piece.body.startswith(_KUBELET_EXCUSES):
        raise ApiError(404, "NotFound", _text(piece.body))
    return piece.body.startswith(_NOT_FOLLOWED)


def _rest(splitter: LineSplitter) -> bytes | None:
    """What a stream that ended properly left unended, see `_Read.rest`. Raises ApiError when there is no log."""
    # Kubelets end such words with the stream, not with a newline.
    said = not splitter.continues and _is_of_kubelet(Piece(None, splitter.rest))
    return None if said else splitter.rest


def _text(body: bytes) -> str:
    return body.decode("utf-8", "backslashreplace").removesuffix("\r")


def _clock(time_ns: int) -> str:
    if time_ns <= 0:
        return "an unknown time"
    return (
        datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
