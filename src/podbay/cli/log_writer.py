"""Log lines on a terminal, in a pipe or as JSON: container names in front, colours by severity.

Lines go out in blocks as they come; nothing is kept back except the end of a line whose rest is still to come.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import orjson

from podbay.kube.log_reader import LogLine
from podbay.kube.severity import Severity, severity_of

__all__ = ["LogWriter", "wants_colour"]

_COLOURS: Final[dict[Severity, str]] = {
    "debug": "\x1b[2m",
    "warning": "\x1b[33m",
    "error": "\x1b[31m",
    "critical": "\x1b[1;31m",
}
_NAME_COLOURS: Final = ("\x1b[36m", "\x1b[35m", "\x1b[34m", "\x1b[32m")
_OFF: Final = "\x1b[0m"


def wants_colour(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """A person looks at it, and has not said no (no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


class LogWriter:
    """Writes to `out`; what Podbay itself says about a log goes to `notices`."""

    def __init__(
        self,
        out: TextIO,
        notices: TextIO = sys.stderr,
        *,
        names: bool = False,
        timestamps: bool = False,
        as_json: bool = False,
    ) -> None:
        self._out, self._notices = out, notices
        self._names, self._timestamps, self._as_json = names, timestamps, as_json
        self._colour = not as_json and wants_colour(out)
        self._name_colours: dict[str, str] = {}
        self._open = ""
        """The container whose line is under way."""
        self._open_colour = ""

    def write(self, lines: Iterable[LogLine]) -> None:
        """Write the lines; raises BrokenPipeError when nobody reads."""
        parts: list[str] = []
        for line in lines:
            if self._as_json:
                parts.append(orjson.dumps(_as_json(line)).decode() + "\n")
            elif line.notice:
                self._notices.write(line.text + "\n")
            else:
                self._format(line, parts)
        if parts:
            # Bytes that are no UTF-8 came as \xNN; lone surrogates cannot come.
            self._out.write("".join(parts))
            self._out.flush()

    def end_line(self) -> None:
        """Something else is to be written to the same terminal."""
        if self._open:
            self._out.write("\n")
            self._out.flush()
            self._open = ""

    def _format(self, line: LogLine, parts: list[str]) -> None:
        begins = self._open != line.container
        if self._open and begins:
            # The other container's long line goes on below; its name in front of it tells whose it is.
            parts.append("\n")
        if begins:
            parts.append(self._head(line))
            self._open_colour = self._colour_of(line.text)
        colour = self._open_colour
        parts.append(f"{colour}{line.text}{_OFF}" if colour else line.text)
        self._open = line.container if line.continues else ""
        if not line.continues:
            parts.append("\n")

    def _head(self, line: LogLine) -> str:
        head = f"{time_text(line.time_ns)} " if self._timestamps else ""
        if not self._names:
            return head
        if not self._colour:
            return f"{head}{line.container} | "
        colour = self._name_colours.setdefault(
            line.container, _NAME_COLOURS[len(self._name_colours) % len(_NAME_COLOURS)]
        )
        return f"{head}{colour}{line.container} |{_OFF} "

    def _colour_of(self, text: str) -> str:
        if not self._colour or "\x1b" in text:
            return ""
        severity = severity_of(text)
        return _COLOURS.get(severity, "") if severity is not None else ""


def time_text(time_ns: int) -> str:
    """RFC 3339 with microseconds in UTC; `-` when unknown."""
    if time_ns <= 0:
        return "-"
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _as_json(line: LogLine) -> dict[str, Any]:
    return {
        "container": line.container,
        "time": time_text(line.time_ns) if line.time_ns > 0 else None,
        "severity": None if line.notice else severity_of(line.text),
        "text": line.text,
        "continues": line.continues,
        "notice": line.notice,
    }
