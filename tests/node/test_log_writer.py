"""Log lines as clients get them: pieces of a line are one line."""

from __future__ import annotations

from podbay.apiserver.streams import LogOptions
from podbay.node.logs import LogWriter
from podbay.node.observed import LogLine

SECOND = 1_000_000_000


def test_only_the_first_piece_of_a_line_has_a_time_stamp() -> None:
    lines = [
        LogLine(time_ns=1 * SECOND, stream="stdout", data=b"no ", partial=True),
        LogLine(time_ns=2 * SECOND, stream="stdout", data=b"newline", partial=True),
        LogLine(time_ns=3 * SECOND, stream="stdout", data=b"", partial=False),
        LogLine(time_ns=4 * SECOND, stream="stdout", data=b"next", partial=False),
    ]
    writer = LogWriter(LogOptions(container="base", timestamps=True))
    written = b"".join(writer.write([line]) for line in lines)
    assert written.decode().splitlines() == [
        "1970-01-01T00:00:01.000000000Z no newline",
        "1970-01-01T00:00:04.000000000Z next",
    ]
