"""Container logs in the form clients get: time stamps, limits, one stream or both. Pure.

Source: pkg/kubelet/kuberuntime/logs/logs.go (writeLogs).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from podbay.apiserver.streams import LogOptions
from podbay.node.observed import LogLine
from podbay.node.specs import LogQuery

__all__ = ["LogWriter", "log_query"]


def log_query(options: LogOptions) -> LogQuery:
    """What the runtime is asked for."""
    since = int(options.since.timestamp() * 1_000_000) * 1000 if options.since is not None else 0
    return LogQuery(follow=options.follow, since_ns=max(0, since), tail_lines=options.tail_lines)


class LogWriter:
    """Turns lines into bytes until the limit is reached."""

    def __init__(self, options: LogOptions) -> None:
        self._timestamps = options.timestamps
        self._stream = {"Stdout": "stdout", "Stderr": "stderr"}.get(options.stream, "")
        self._left = options.limit_bytes
        # A piece of a line gets no time stamp of its own: conmon writes a piece for each write that ends in no newline.
        self._at_line_start = True

    @property
    def full(self) -> bool:
        """Nothing more may be sent."""
        return self._left is not None and self._left <= 0

    def write(self, lines: Iterable[LogLine]) -> bytes:
        """The bytes of these lines, cut at the limit."""
        parts = []
        for line in lines:
            if self._stream and line.stream != self._stream:
                continue
            if self._timestamps and self._at_line_start:
                parts.append(_stamp(line.time_ns))
            self._at_line_start = not line.partial or line.data.endswith(b"\n") or not line.data
            parts.append(line.data)
            if not line.partial:
                parts.append(b"\n")
        text = b"".join(parts)
        if self._left is not None:
            text = text[: self._left]
            self._left -= len(text)
        return text


def _stamp(time_ns: int) -> bytes:
    """RFC 3339 with nine decimals and a blank."""
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z ".encode()
