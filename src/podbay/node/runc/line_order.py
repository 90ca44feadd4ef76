"""The order in which a container's lines are shown. Pure.

conmon logs what it reads at once, so that a line without its end may stand before a whole line of the other stream;
other runtimes log a line when it ends, when it is 16 KiB long, or when its stream ends. Their order is kept here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from podbay.node.observed import LogLine

__all__ = ["LineOrder"]

_LONGEST = 16 << 10


class LineOrder:
    """Lines in, lines out; unfinished ones wait. As many come out as went in, once `flush` was called."""

    def __init__(self) -> None:
        self._held: dict[str, list[LogLine]] = {"stdout": [], "stderr": []}
        self._last = 0

    def feed(self, lines: Iterable[LogLine]) -> list[LogLine]:
        """What may be shown now."""
        shown: list[LogLine] = []
        for line in lines:
            held = self._held[line.stream]
            if line.partial and sum(len(h.data) for h in held) + len(line.data) < _LONGEST:
                held.append(line)
                continue
            shown += [self._stamped(h) for h in (*held, line)]
            held.clear()
        return shown

    def flush(self) -> Sequence[LogLine]:
        """What waits still: the log has ended."""
        waiting = sorted(
            (line for held in self._held.values() for line in held), key=lambda line: line.time_ns
        )
        self._held = {"stdout": [], "stderr": []}
        return [self._stamped(line) for line in waiting]

    def _stamped(self, line: LogLine) -> LogLine:
        """Times never go back: a line counts from when it is shown."""
        if line.time_ns < self._last:
            return line._replace(time_ns=self._last)
        self._last = line.time_ns
        return line
