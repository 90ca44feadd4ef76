"""Every line of a container's log exactly once, however often the stream is cut, repeated or rotated. Pure.

A log is asked for with `timestamps=true`, from a whole second on, because that is all the API can say. So a second
read repeats lines, and what has been seen is left out by *position*: the time stamp of the last line and how many lines
bore it. In the second read everything up to that line, in the order of the file, has been seen, everything after it
has not. Times need not be in order: two streams of one container are stamped by two threads, and nodes' clocks are set
back. When the line is not there any more, the file was rotated: what was between is lost, and `gap` says so.

Lines are bounded: of a longer one come pieces of at most PIECE bytes, cut at the same places in every read.
Source: k8s.io/cri-client/pkg/logs (stamps are RFC 3339 with nine digits and the node's zone; a read that begins within
a long line shows its rest without a stamp; text after a line's unfinished piece has no stamp of its own).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from podbay.errors import InvalidInputError

__all__ = ["PIECE", "LineSplitter", "Piece", "Position", "Tracker"]

PIECE = 16 << 10
"""Bytes; what container runtimes cut at, and enough for a stack trace in one line of JSON."""
SLACK = timedelta(seconds=1)
"""Asked for additionally: lines of two streams that are written together may be swapped across a second."""
_STEP_NS = 2_000_000_000
"""Farther back than this is no swap but a clock that was set back."""
_WINDOW = 1024
"""Time stamps remembered; swaps happen between neighbours."""
_HELD = 256
"""Pieces held back while it is open whether they are old or the file is another one."""
_STAMP_LIMIT = 40


class Piece(NamedTuple):
    """A line or a part of one. time_ns None: it has no stamp. number 0 begins a line, last ends it."""

    time_ns: int | None
    body: bytes
    number: int = 0
    last: bool = True


class LineSplitter:
    """Bytes in, pieces out. Holds at most a piece and what it was fed last."""

    def __init__(self) -> None:
        self.rest = b""
        """What has come of a line that is not ended yet (without its stamp when pieces of it are out)."""
        self._time: int | None = None
        self._number = 0
        self._second = b""
        self._epoch_ns = 0

    @property
    def continues(self) -> bool:
        """Pieces of the line that `rest` belongs to are out."""
        return self._number > 0

    def feed(self, data: bytes) -> list[Piece]:
        """The pieces that are complete."""
        *lines, rest = (self.rest + data).split(b"\n")
        out: list[Piece] = []
        for line in lines:
            if self._number == 0:
                time, body = self._stamp(line)
                if len(body) <= PIECE:
                    out.append(Piece(time, body))
                    continue
            self._cut(line, out, ended=True)
        if len(rest) > PIECE + _STAMP_LIMIT:
            rest = self._cut(rest, out, ended=False)
        self.rest = rest
        return out

    def finish(self) -> list[Piece]:
        """The unended rest as the end of its line; for logs whose last line has no newline."""
        if not self.rest:
            return []
        out: list[Piece] = []
        self._cut(self.rest, out, ended=True)
        self.rest = b""
        return out

    def _cut(self, data: bytes, out: list[Piece], *, ended: bool) -> bytes:
        """Add the pieces of a long line; gives what is left of it."""
        body = data
        if self._number == 0:
            self._time, body = self._stamp(data)
        while len(body) > PIECE:
            at = _character_start(body, PIECE)
            out.append(Piece(self._time, body[:at], self._number, False))
            self._number += 1
            body = body[at:]
        if not ended:
            return body
        out.append(Piece(self._time, body, self._number, True))
        self._number = 0
        return b""

    def _stamp(self, line: bytes) -> tuple[int | None, bytes]:
        space = line.find(b" ", 0, _STAMP_LIMIT)
        head = line if space < 0 else line[:space]
        # 2026-10-01T12:00:00.123456789Z, or with fewer digits, or with +02:00
        if len(head) < 20 or len(head) > _STAMP_LIMIT or head[10:11] != b"T":
            return None, line
        zone_at = len(head) - (1 if head.endswith(b"Z") else 6)
        second = head[:19] + head[zone_at:]
        if second != self._second:
            try:
                moment = datetime.fromisoformat(second.decode("ascii").replace("Z", "+00:00"))
            except ValueError:
                return None, line
            # Many lines share a second, and reading a date is the dearest part of a line.
            self._second = second
            self._epoch_ns = int(moment.timestamp()) * 1_000_000_000
        fraction = head[20:zone_at]
        if fraction and not fraction.isdigit():
            return None, line
        ns = int(fraction[:9].ljust(9, b"0")) if fraction else 0
        return self._epoch_ns + ns, line[space + 1 :] if space >= 0 else b""


def _character_start(data: bytes, at: int) -> int:
    """The nearest place not after `at` where a UTF-8 character begins, if there is one near."""
    for back in range(4):
        if data[at - back] & 0xC0 != 0x80:
            return at - back
    return at


@dataclass(frozen=True, slots=True)
class Position:
    """How far a container's log has been taken over. Prints as a short text and is read back from it."""

    attempt: str
    """The container ID's first digits: a restarted container has another log."""
    time_ns: int = -1
    """Stamp of the last whole line; -1 before the first."""
    count: int = 0
    """Lines taken over with this stamp."""
    ahead: int = 0
    """Lines before it in the file with a later stamp; -1: the clock was set back, there may be many."""
    pieces: int = 0
    """Pieces taken over of the line after it."""

    @property
    def since(self) -> datetime | None:
        """What to ask the server for."""
        if self.time_ns < 0:
            return None
        return datetime.fromtimestamp(self.time_ns // 1_000_000_000, UTC) - SLACK

    def __str__(self) -> str:
        numbers = [self.time_ns, self.count, self.ahead, self.pieces]
        while numbers and numbers[-1] == 0:
            numbers.pop()
        return "/".join([self.attempt, *(map(str, numbers) if numbers != [-1] else ())])

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read what str() gave. Raises InvalidInputError."""
        attempt, *numbers = text.split("/")
        try:
            values = [int(number) for number in numbers]
        except ValueError:
            raise InvalidInputError(f"{text!r} is not a log position") from None
        if len(values) > 4:
            raise InvalidInputError(f"{text!r} is not a log position")
        return cls(attempt, *values)


class Tracker:
    """Takes what reads of one attempt's log give and lets through what is new.

    `begin` starts a read, `take` gives the new pieces of it. Then `fresh` is how many there were, `found` that the
    position was met again, `gap` that lines are missing before the first new one.
    """

    def __init__(self, position: Position) -> None:
        self._base = position
        """What holds until a new line has ended."""
        self._moved = False
        self._pieces = position.pieces
        self._time = position.time_ns
        self._latest = position.time_ns
        self._counts: OrderedDict[int, int] = OrderedDict()
        self.begin()

    @property
    def position(self) -> Position:
        """After the last piece that `take` gave."""
        if not self._moved:
            return replace(self._base, pieces=self._pieces)
        ahead = 0
        if self._time < self._latest - _STEP_NS:
            ahead = -1
        elif self._time < self._latest:
            ahead = sum(n for stamp, n in self._counts.items() if stamp > self._time)
        return Position(self._base.attempt, self._time, self._counts[self._time], ahead, self._pieces)

    def begin(self) -> Position:
        """A read begins; gives the position it must begin at or before."""
        self._from = self.position
        self.fresh = 0
        self.gap = False
        self.found = self._from.time_ns < 0
        self._searching = not self.found
        self._met = 0
        self._ahead_left = self._from.ahead
        self._skip_pieces = self._from.pieces
        self._passed: OrderedDict[int, int] = OrderedDict()
        self._stamp: int | None = None
        self._verdict: Literal["seen", "held", "new"] = "seen"
        self._held: list[Piece] = []
        return self._from

    def take(self, pieces: Iterable[Piece]) -> list[Piece]:
        """The new ones among them."""
        out: list[Piece] = []
        for piece in pieces:
            if piece.number == 0:
                if piece.time_ns is not None:
                    self._stamp = piece.time_ns
                if self._searching:
                    self._verdict = self._judge(self._stamp)
                    if not self._searching and self.gap:
                        self._release(out)
                else:
                    self._verdict = "new"
            if self._verdict == "new":
                self._let_through(piece, self._stamp, out)
            elif self._verdict == "held" and len(self._held) < _HELD:
                self._held.append(piece)
        return out

    def give_up(self) -> list[Piece]:
        """The position will not be met any more: what was held back for that case."""
        out: list[Piece] = []
        self._lost()
        self._release(out)
        return out

    def _let_through(self, piece: Piece, stamp: int | None, out: list[Piece]) -> None:
        # Earlier pieces belong to the line that was under way when the stream was cut.
        if piece.number >= self._skip_pieces:
            out.append(piece)
            self.fresh += 1
            self._pieces = piece.number + 1
        if piece.last:
            self._line_ended(stamp)

    def _release(self, out: list[Piece]) -> None:
        held, self._held = self._held, []
        for piece in held:
            self._let_through(piece, piece.time_ns, out)

    def _judge(self, time_ns: int | None) -> Literal["seen", "held", "new"]:
        """A line begins while the position is looked for."""
        at = self._from
        if time_ns is None:
            # The rest of a line that began before what was asked for.
            return "seen"
        if time_ns > at.time_ns and self._ahead_left == 0:
            self._lost()
            return "new"
        _count(self._passed, time_ns)
        if time_ns > at.time_ns:
            # Stands before the position in the file, unless the file is another by now.
            self._ahead_left -= 1
            return "held"
        if time_ns == at.time_ns:
            self._met += 1
            if self._met == at.count:
                self._found()
        return "seen"

    def _found(self) -> None:
        self._searching = False
        self.found = True
        self._held = []
        self._counts = self._passed
        self._latest = max(self._latest, *self._passed)

    def _lost(self) -> None:
        """The position is not in the file any more, so all that is there came after it."""
        self._searching = False
        self.gap = True
        self._skip_pieces = self._pieces = 0
        self._base = Position(self._base.attempt)
        self._moved = False
        self._counts = OrderedDict()

    def _line_ended(self, stamp: int | None) -> None:
        self._skip_pieces = self._pieces = 0
        if stamp is None:
            return
        self._moved = True
        self._time = stamp
        self._latest = max(self._latest, stamp)
        _count(self._counts, stamp)


def _count(counts: OrderedDict[int, int], time_ns: int) -> None:
    counts[time_ns] = counts.get(time_ns, 0) + 1
    if len(counts) > _WINDOW:
        counts.popitem(last=False)
