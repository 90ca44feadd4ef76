"""Log lines in the form clients get, and the order in which lines of two streams are shown."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podbay.apiserver.streams import LogOptions
from podbay.node.logs import LogWriter, log_query
from podbay.node.observed import LogLine
from podbay.node.runc.line_order import LineOrder

T = 1_700_000_000 * 10**9
LINES = [
    LogLine(T, "stdout", False, b"one"),
    LogLine(T + 1, "stderr", False, b"bad"),
    LogLine(T + 2, "stdout", True, b"two"),
]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (LogOptions(container="c"), b"one\nbad\ntwo"),
        (LogOptions(container="c", stream="Stderr"), b"bad\n"),
        (LogOptions(container="c", limit_bytes=5), b"one\nb"),
        (
            LogOptions(container="c", timestamps=True, stream="Stderr"),
            b"2023-11-14T22:13:20.000000001Z bad\n",
        ),
    ],
)
def test_text(options: LogOptions, text: bytes) -> None:
    writer = LogWriter(options)
    assert b"".join(writer.write([line]) for line in LINES) == text
    assert writer.full is (options.limit_bytes is not None)


def test_a_query_in_nanoseconds() -> None:
    since = datetime(2023, 11, 14, 22, 13, 20, 500_000, tzinfo=UTC)
    query = log_query(LogOptions(container="c", since=since, tail_lines=3, follow=True))
    assert (query.since_ns, query.tail_lines, query.follow) == (T + 500_000_000, 3, True)


def test_an_unfinished_line_is_shown_when_it_ends() -> None:
    order = LineOrder()
    assert order.feed([LogLine(1, "stdout", True, b"half")]) == []
    assert order.feed([LogLine(2, "stderr", False, b"err")]) == [LogLine(2, "stderr", False, b"err")]
    shown = order.feed([LogLine(3, "stdout", False, b"rest")])
    assert [(line.data, line.time_ns) for line in shown] == [(b"half", 2), (b"rest", 3)]


def test_a_long_line_does_not_wait() -> None:
    order = LineOrder()
    chunk = LogLine(1, "stdout", True, b"x" * 8192)
    assert order.feed([chunk]) == []
    assert len(order.feed([chunk])) == 2


@given(
    st.lists(
        st.tuples(st.sampled_from(["stdout", "stderr"]), st.booleans(), st.binary(max_size=4)), max_size=30
    )
)
def test_nothing_is_lost_and_each_stream_keeps_its_order(entries: list[tuple[str, bool, bytes]]) -> None:
    lines = [LogLine(i, stream, partial, data) for i, (stream, partial, data) in enumerate(entries)]  # type: ignore[arg-type]
    order = LineOrder()
    shown = [line for one in lines for line in order.feed([one])] + list(order.flush())
    for stream in ("stdout", "stderr"):
        assert [s.data for s in shown if s.stream == stream] == [s.data for s in lines if s.stream == stream]
    times = [line.time_ns for line in shown]
    assert times == sorted(times)
