"""SPDY frames, cut anywhere."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podbay.apiserver.wire import spdy_frames
from podbay.apiserver.wire.spdy_frames import (
    DataFrame,
    Frame,
    FrameReader,
    FrameWriter,
    GoAwayFrame,
    PingFrame,
    ResetFrame,
    StreamFrame,
)

_ids = st.integers(1, 2**31 - 1)
_text = st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=30)
_frames = st.one_of(
    st.builds(StreamFrame, _ids, st.dictionaries(_text.map(str.lower), _text, max_size=4), st.booleans()),
    st.builds(DataFrame, _ids, st.binary(max_size=300), st.booleans()),
    st.builds(ResetFrame, _ids, st.integers(1, 11)),
    st.builds(PingFrame, st.integers(0, 2**32 - 1)),
    st.builds(GoAwayFrame, _ids),
)


def encode(writer: FrameWriter, frame: Frame) -> bytes:
    if isinstance(frame, StreamFrame):
        return writer.open(frame.stream_id, frame.headers, fin=frame.fin)
    if isinstance(frame, DataFrame):
        return writer.data(frame.stream_id, frame.data, fin=frame.fin)
    if isinstance(frame, ResetFrame):
        return writer.reset(frame.stream_id, frame.status)
    if isinstance(frame, PingFrame):
        return writer.ping(frame.ping_id)
    return writer.go_away(frame.last_stream_id)


def joined(frames: list[Frame]) -> list[Frame]:
    """Pieces of one DATA frame put together again; a border between two frames is a frame of its own in the test."""
    found: list[Frame] = []
    for frame in frames:
        last = found[-1] if found else None
        if isinstance(frame, DataFrame) and isinstance(last, DataFrame) and last.stream_id == frame.stream_id:
            found[-1] = DataFrame(frame.stream_id, last.data + frame.data, frame.fin)
        else:
            found.append(frame)
    return found


@given(st.lists(_frames, max_size=12), st.lists(st.integers(1, 400)))
def test_frames_survive_any_cut(frames: list[Frame], cuts: list[int]) -> None:
    writer, reader = FrameWriter(), FrameReader()
    # A ping between any two keeps DATA frames of one stream apart.
    wire = b"".join(encode(writer, frame) + encode(writer, PingFrame(1)) for frame in frames)
    found: list[Frame] = []
    for cut in cuts:
        found += reader.feed(wire[:cut])
        wire = wire[cut:]
    found += reader.feed(wire)
    assert joined(found) == [each for frame in frames for each in (frame, PingFrame(1))]


def test_the_dictionary_is_that_of_the_protocol() -> None:
    assert zlib.adler32(spdy_frames._DICTIONARY) == 0xE3C6A7C2


def test_a_reply_does_not_disturb_later_headers() -> None:
    writer, reader = FrameWriter(), FrameReader()
    wire = writer.reply(1) + writer.open(3, {"streamtype": "data"})
    assert list(reader.feed(wire)) == [StreamFrame(3, {"streamtype": "data"})]


@pytest.mark.parametrize(
    "wire",
    [
        b"GET / HTTP/1.1\r\n\r\n\x80\x01",
        bytes.fromhex("8002000100000004") + b"1234",
        bytes.fromhex("8003000100ffffff"),
        bytes.fromhex("800300010000000a") + bytes(10),
        bytes.fromhex("8003000100000012") + bytes(10) + b"not zlib",
        bytes.fromhex("8003000300000004") + bytes(4),
    ],
    ids=["http", "version 2", "16 MB of headers", "no headers", "no zlib", "short reset"],
)
def test_what_is_not_spdy_is_refused(wire: bytes) -> None:
    reader = FrameReader()
    if wire.startswith(b"GET"):
        # Without the control bit it is the start of an endless DATA frame: nothing is held but its last piece.
        assert all(isinstance(frame, DataFrame) for frame in reader.feed(wire))
        assert len(reader._buffer) == 0
        return
    with pytest.raises(ConnectionError):
        list(reader.feed(wire))


def test_headers_that_blow_up_are_refused() -> None:
    reader = FrameReader()
    wire = FrameWriter().open(1, {"bomb": "x" * 1_000_000})
    assert len(wire) < 10_000
    with pytest.raises(ConnectionError, match="too large"):
        list(reader.feed(wire))


def test_large_data_is_handed_on_in_pieces() -> None:
    reader = FrameReader()
    wire = FrameWriter().data(1, b"x" * 1_000_000, fin=True)
    frames = [
        frame for start in range(0, len(wire), 1000) for frame in reader.feed(wire[start : start + 1000])
    ]
    assert sum(len(frame.data) for frame in frames if isinstance(frame, DataFrame)) == 1_000_000
    assert [frame.fin for frame in frames if isinstance(frame, DataFrame)].count(True) == 1
    assert len(reader._buffer) == 0
