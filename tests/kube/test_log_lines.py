"""Every line once and in order, for any file, any cuts, any time the reader is made anew. No sockets."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podbay.errors import InvalidInputError
from podbay.kube.log_lines import PIECE, LineSplitter, Piece, Position, Tracker

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def stamp(ns: int, zone: str = "Z") -> str:
    from datetime import UTC, datetime, timedelta

    moment = datetime.fromtimestamp(ns // SECOND, UTC) + (
        timedelta(hours=2) if zone == "+02:00" else timedelta()
    )
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ns % SECOND:09d}{zone}"


@dataclass
class LogFile:
    """A container's log as a node has it: lines in the order they were written, stamps in any."""

    lines: list[tuple[int, bytes]]

    def read(self, since_ns: int, upto: int) -> bytes:
        return b"".join(
            stamp(ns).encode() + b" " + text + b"\n" for ns, text in self.lines[:upto] if ns >= since_ns
        )


def since_ns(position: Position) -> int:
    return int(position.since.timestamp()) * SECOND if position.since else 0


def one_read(tracker: Tracker, data: bytes, chunk: int) -> list[bytes]:
    tracker.begin()
    splitter = LineSplitter()
    out: list[bytes] = []
    for at in range(0, len(data), chunk):
        out += [p.body for p in tracker.take(splitter.feed(data[at : at + chunk]))]
    return out


# Steps between lines: mostly forward or none at all, sometimes back a little as two writers swap.
STEPS = st.sampled_from(
    [0, 0, 0, 1, 999, 300_000_000, 700_000_000, SECOND, 5 * SECOND, -1, -999, -400_000_000]
)


@st.composite
def files(draw: st.DrawFn) -> LogFile:
    at, lines = START, []
    for number, step in enumerate(draw(st.lists(STEPS, min_size=1, max_size=30))):
        # A swap never goes back beyond the slack, seen from the latest stamp.
        at = max(at + step, max((ns for ns, _ in lines), default=START) - 900_000_000)
        lines.append((at, b"line %d" % number))
    return LogFile(lines)


@settings(max_examples=400, deadline=None)
@given(data=st.data(), file=files())
def test_any_cuts_any_restarts_every_line_once(data: st.DataObject, file: LogFile) -> None:
    got: list[bytes] = []
    tracker = Tracker(Position("abc"))
    written = 0
    for _ in range(data.draw(st.integers(1, 8), label="reads")):
        written = data.draw(st.integers(written, len(file.lines)), label="written")
        whole = file.read(since_ns(tracker.position), written)
        cut = data.draw(st.integers(0, len(whole)), label="cut")
        got += one_read(tracker, whole[:cut], data.draw(st.sampled_from([1, 7, 1000]), label="chunk"))
        if data.draw(st.booleans(), label="engine restart"):
            tracker = Tracker(Position.parse(str(tracker.position)))
    got += one_read(tracker, file.read(since_ns(tracker.position), len(file.lines)), 1000)
    assert got == [text for _, text in file.lines]
    assert not tracker.gap
    # One more read brings nothing and meets the position: that is how the end is known.
    assert one_read(tracker, file.read(since_ns(tracker.position), len(file.lines)), 1000) == []
    assert tracker.found
    assert tracker.fresh == 0


@settings(max_examples=200, deadline=None)
@given(data=st.data(), file=files())
def test_rotation_loses_nothing_that_is_there_and_says_so(data: st.DataObject, file: LogFile) -> None:
    tracker = Tracker(Position("abc"))
    seen = data.draw(st.integers(1, len(file.lines)), label="seen")
    got = one_read(tracker, file.read(0, seen), 1000)
    rotated = data.draw(st.integers(0, len(file.lines)), label="rotated")
    file_now = LogFile(file.lines[rotated:])
    after = one_read(tracker, file_now.read(since_ns(tracker.position), len(file_now.lines)), 1000)
    expected = [text for _, text in file.lines[max(seen, rotated) :]]
    last, newer = file.lines[seen - 1][0], [ns for ns, _ in file.lines[max(seen, rotated) :]]
    if rotated < seen and not any(ns == last for ns, _ in file.lines[:rotated]):
        assert got + after == [text for _, text in file.lines]
        assert not tracker.gap
    elif newer and min(newer) > last:
        if not tracker.gap:
            # Lines that could also have stood before the position are held back until nothing else comes.
            after += [piece.body for piece in tracker.give_up()]
        assert tracker.gap
        assert after[-len(expected) :] == expected
        assert len(set(got + after)) == len(got + after)


def test_a_clock_set_back_an_hour_repeats_and_loses_nothing() -> None:
    lines = [(START + i * SECOND, b"before %d" % i) for i in range(3000)]
    lines += [(START - 600 * SECOND + i * SECOND, b"after %d" % i) for i in range(100)]
    file = LogFile(lines)
    tracker = Tracker(Position("abc"))
    got = one_read(tracker, file.read(0, 3050), 4096)
    for written in (3051, 3060, 3100):
        tracker = Tracker(Position.parse(str(tracker.position)))
        got += one_read(tracker, file.read(since_ns(tracker.position), written), 4096)
    assert got == [text for _, text in lines]


def test_a_long_line_comes_in_pieces_and_is_taken_up_in_its_middle() -> None:
    text = bytes(i % 251 for i in range(5 * PIECE + 100)).replace(b"\n", b"x")
    file = LogFile([(START, b"first"), (START + 1, text), (START + 2, b"last")])
    whole = file.read(0, 3)
    for cut in range(0, len(whole), 977):
        tracker = Tracker(Position("abc"))
        got = one_read(tracker, whole[:cut], 1 << 16)
        tracker = Tracker(Position.parse(str(tracker.position)))
        got += one_read(tracker, whole, 1 << 16)
        assert b"".join(got) == b"first" + text + b"last"
        assert max(map(len, got)) <= PIECE


def test_memory_is_bounded_whatever_is_printed() -> None:
    splitter = LineSplitter()
    splitter.feed(stamp(START).encode() + b" ")
    total = 0
    for _ in range(810):
        total += sum(len(p.body) for p in splitter.feed(b"x" * (64 << 10)))
        assert len(splitter.rest) <= PIECE
    assert total >= 50 << 20


def test_characters_are_not_cut() -> None:
    text = "ä€😀" * 10_000
    pieces = LineSplitter().feed(stamp(START).encode() + b" " + text.encode() + b"\n")
    assert len(pieces) > 3
    assert "".join(p.body.decode() for p in pieces) == text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"2023-11-14T22:13:20.000000001Z x y", Piece(START + 1, b"x y")),
        (b"2023-11-14T22:13:20Z x", Piece(START, b"x")),
        (b"2023-11-14T22:13:20.5Z x", Piece(START + SECOND // 2, b"x")),
        (b"2023-11-15T00:13:20.000000001+02:00 x", Piece(START + 1, b"x")),
        (b"2023-11-14T22:13:20.000000001Z ", Piece(START + 1, b"")),
        (b"2023-11-14T22:13:20.000000001Z", Piece(START + 1, b"")),
        (b"not a stamp", Piece(None, b"not a stamp")),
        (b"2023-99-14T22:13:20.000000001Z x", Piece(None, b"2023-99-14T22:13:20.000000001Z x")),
        (b"", Piece(None, b"")),
    ],
)
def test_stamps(line: bytes, expected: Piece) -> None:
    assert LineSplitter().feed(line + b"\n") == [expected]


def test_the_rest_of_an_older_long_line_is_left_out() -> None:
    """A kubelet that begins within a long line shows its rest without a stamp."""
    tracker = Tracker(Position("abc", START, 1))
    data = b"rest of a long line\n" + LogFile([(START, b"seen"), (START + 5, b"new")]).read(0, 2)
    assert one_read(tracker, data, 10) == [b"new"]


def test_positions_are_short_and_survive() -> None:
    assert str(Position("0123456789ab")) == "0123456789ab"
    assert str(Position("0123456789ab", START, 2)) == f"0123456789ab/{START}/2"
    position = Position("0123456789ab", START, 2, -1, 3)
    assert Position.parse(str(position)) == position
    for wrong in ("a/b", "a/1/2/3/4/5"):
        with pytest.raises(InvalidInputError):
            Position.parse(wrong)
