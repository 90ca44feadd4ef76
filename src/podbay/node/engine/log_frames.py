"""The engine's log stream, taken apart into lines. Pure.

With a terminal the stream is plain text; else it comes in frames (hijack.py tells their form), one for each write that
was recorded. Every record begins with its time. Specification: docs.docker.com/reference/api/engine, "ContainerLogs".
"""

from __future__ import annotations

from typing import Literal

from podbay.node.engine.status import nanoseconds
from podbay.node.observed import LogLine

__all__ = ["LogFrames"]

Name = Literal["stdout", "stderr"]

_RECORD = 16 << 10
"""Bytes after which engines cut a line that does not end; the rest is a record of its own."""
_TIME_MAX = 40
"""Characters of a time and the space after it."""


class LogFrames:
    """Feed it the bytes of the stream; it gives the lines that are complete."""

    def __init__(self, *, tty: bool, earliest: int = 0, drops_newlines: bool = False) -> None:
        self._tty = tty
        self._earliest = earliest
        self._drops_newlines = drops_newlines
        self._rest = bytearray()
        self._open: dict[Name, int] = {}
        """The time of the line that a stream is in the middle of; all its records have the same."""

    def feed(self, data: bytes) -> list[LogLine]:
        self._rest += data
        return self._text() if self._tty else self._frames()

    def finish(self) -> list[LogLine]:
        """What a process left without a newline."""
        rest, self._rest = bytes(self._rest), bytearray()
        return [self._line("stdout", rest)] if self._tty and rest else []

    def _frames(self) -> list[LogLine]:
        found: list[LogLine] = []
        at = 0
        while len(self._rest) - at >= 8:
            end = at + 8 + int.from_bytes(self._rest[at + 4 : at + 8], "big")
            if end > len(self._rest):
                break
            name: Name = "stderr" if self._rest[at] == 2 else "stdout"
            found.append(self._line(name, bytes(self._rest[at + 8 : end])))
            at = end
        del self._rest[:at]
        return found

    def _text(self) -> list[LogLine]:
        found: list[LogLine] = []
        while True:
            space = self._rest.find(b" ", 0, _TIME_MAX)
            newline = self._rest.find(b"\n")
            limit = space + 1 + _RECORD
            if newline >= 0 and (space < 0 or newline < limit):
                end = newline + 1
            elif space >= 0 and len(self._rest) > limit + _TIME_MAX and _is_time(self._rest, limit):
                end = limit
            else:
                return found
            found.append(self._line("stdout", bytes(self._rest[:end])))
            del self._rest[:end]

    def _line(self, name: Name, record: bytes) -> LogLine:
        head, _, text = record.partition(b" ")
        when = _time(head)
        if not when:
            # No time stands before it: all of it is text.
            text = record
        ended = text.endswith(b"\n")
        if ended:
            text = text[:-1]
        elif self._drops_newlines and len(text) < _RECORD and self._open.get(name) == when:
            # Docker's driver "local" (seen in 20.10) does so at the end of a line of several records.
            ended = True
        self._open[name] = 0 if ended else when
        # Podman cuts times to whole seconds, which would put a first line before its container.
        return LogLine(max(when, self._earliest), name, not ended, text)


def _is_time(data: bytearray, at: int) -> bool:
    return data[at : at + 2] == b"20" and data[at + 4 : at + 5] == b"-" and data[at + 10 : at + 11] == b"T"


def _time(head: bytes) -> int:
    try:
        return nanoseconds(head.decode("ascii"))
    except (ValueError, UnicodeDecodeError):
        return 0
