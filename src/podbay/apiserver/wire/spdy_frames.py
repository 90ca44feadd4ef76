"""SPDY/3.1 frames: bytes to frames and frames to bytes. No I/O.

Only what Kubernetes streaming uses. WINDOW_UPDATE and SETTINGS are read and dropped, because the peers that still
speak SPDY (kubectl, client-go, the kubelet's clients) know no flow control but TCP's.
Source: the SPDY protocol draft 3.1, chapters 2.2 and 2.6; the dictionary is that of 2.6.10.1.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

__all__ = [
    "CANCEL",
    "PROTOCOL_ERROR",
    "REFUSED_STREAM",
    "DataFrame",
    "Frame",
    "FrameReader",
    "FrameWriter",
    "GoAwayFrame",
    "PingFrame",
    "ResetFrame",
    "StreamFrame",
]

_VERSION = 3
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY, _HEADERS = 1, 2, 3, 6, 7, 8
_FIN = 0x01
_CONTROL_LIMIT = 64 * 1024
"""Bytes of a control frame, and of a header block after decompression; real ones have some hundred."""
_PIECE_LIMIT = 64 * 1024
"""Bytes of data handed on at once; a frame may have 16 MB."""

PROTOCOL_ERROR, REFUSED_STREAM, CANCEL = 1, 3, 5
"""Status of RST_STREAM."""

_PREFIXED = """options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age
allow authorization cache-control connection content-base content-encoding content-language content-length
content-location content-md5 content-range content-type date etag expect expires from host if-match
if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma
proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade
user-agent vary via warning www-authenticate method get status"""
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _prefixed(word: str) -> bytes:
    return struct.pack(">I", len(word)) + word.encode()


_DICTIONARY = b"".join(
    [
        *(_prefixed(word) for word in _PREFIXED.split()),
        *(_prefixed(word) for word in ("200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie")),
        *(_prefixed(word) for word in ("keep-alive", "origin")),
        _TAIL.encode(),
    ]
)


@dataclass(frozen=True, slots=True)
class StreamFrame:
    """SYN_STREAM: the peer opens a stream. fin: it will send nothing on it."""

    stream_id: int
    headers: Mapping[str, str]
    fin: bool = False


@dataclass(frozen=True, slots=True)
class DataFrame:
    """A piece of DATA; fin on the last piece the peer sends on this stream."""

    stream_id: int
    data: bytes
    fin: bool = False


@dataclass(frozen=True, slots=True)
class ResetFrame:
    stream_id: int
    status: int


@dataclass(frozen=True, slots=True)
class PingFrame:
    ping_id: int


@dataclass(frozen=True, slots=True)
class GoAwayFrame:
    last_stream_id: int


Frame = StreamFrame | DataFrame | ResetFrame | PingFrame | GoAwayFrame


@dataclass(slots=True)
class _Data:
    """A DATA frame that is still arriving."""

    stream_id: int
    left: int
    fin: bool


@dataclass(slots=True)
class FrameReader:
    """Turns bytes, cut anywhere, into frames. Holds at most one control frame and one piece of data."""

    _buffer: bytearray = field(default_factory=bytearray)
    _data: _Data | None = None
    _headers: zlib._Decompress = field(default_factory=lambda: zlib.decompressobj(zdict=_DICTIONARY))

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Frames completed by data; the iterator must be used up. Raises ConnectionError for what is not SPDY."""
        self._buffer += data
        while True:
            if self._data is not None:
                piece = self._take_data(self._data)
                if piece is None:
                    return
                yield piece
                continue
            if len(self._buffer) < 8:
                return
            first, rest = struct.unpack_from(">II", self._buffer)
            flags, length = rest >> 24, rest & 0xFFFFFF
            if not first & 0x80000000:
                del self._buffer[:8]
                self._data = _Data(first, length, bool(flags & _FIN))
                continue
            if length > _CONTROL_LIMIT:
                raise ConnectionError(f"a control frame of {length} bytes")
            if len(self._buffer) < 8 + length:
                return
            body = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            frame = self._control((first >> 16) & 0x7FFF, first & 0xFFFF, flags, body)
            if frame is not None:
                yield frame

    def _take_data(self, data: _Data) -> DataFrame | None:
        size = min(data.left, len(self._buffer), _PIECE_LIMIT)
        if size == 0 and data.left:
            return None
        piece = bytes(self._buffer[:size])
        del self._buffer[:size]
        data.left -= size
        if data.left == 0:
            self._data = None
        return DataFrame(data.stream_id, piece, fin=data.fin and data.left == 0)

    def _control(self, version: int, kind: int, flags: int, body: bytes) -> Frame | None:
        if version != _VERSION:
            raise ConnectionError(f"SPDY version {version}")
        try:
            if kind == _SYN_STREAM:
                stream_id = struct.unpack_from(">I", body)[0] & 0x7FFFFFFF
                return StreamFrame(stream_id, self._read_headers(body[10:]), bool(flags & _FIN))
            if kind in (_SYN_REPLY, _HEADERS):
                # The header blocks of a connection are one compressed stream: none may be skipped.
                self._read_headers(body[4:])
            elif kind == _RST_STREAM:
                stream_id, status = struct.unpack(">II", body)
                return ResetFrame(stream_id & 0x7FFFFFFF, status)
            elif kind == _PING:
                return PingFrame(struct.unpack(">I", body)[0])
            elif kind == _GOAWAY:
                return GoAwayFrame(struct.unpack_from(">I", body)[0] & 0x7FFFFFFF)
        except (struct.error, zlib.error, UnicodeDecodeError) as err:
            raise ConnectionError(f"control frame {kind} is malformed: {err}") from err
        return None

    def _read_headers(self, block: bytes) -> dict[str, str]:
        plain = self._headers.decompress(block, _CONTROL_LIMIT)
        if self._headers.unconsumed_tail:
            raise ConnectionError("a header block that is too large")
        headers: dict[str, str] = {}
        (count,) = struct.unpack_from(">I", plain)
        offset = 4
        for _ in range(count):
            name, offset = _read_text(plain, offset)
            value, offset = _read_text(plain, offset)
            # Several values of one name are separated by NUL; nobody here looks beyond the first.
            headers[name.lower()] = value.split("\0")[0]
        return headers


def _read_text(plain: bytes, offset: int) -> tuple[str, int]:
    (size,) = struct.unpack_from(">I", plain, offset)
    end = offset + 4 + size
    if end > len(plain):
        raise ConnectionError("a header block that ends too early")
    return plain[offset + 4 : end].decode(), end


@dataclass(slots=True)
class FrameWriter:
    """Turns what is to be sent into bytes. Bytes must go out in the order they were made."""

    _headers: zlib._Compress = field(default_factory=lambda: zlib.compressobj(zdict=_DICTIONARY))

    def reply(self, stream_id: int, *, fin: bool = False) -> bytes:
        """SYN_REPLY without headers: the stream is accepted."""
        block = self._header_block({})
        return _control(_SYN_REPLY, _FIN if fin else 0, struct.pack(">I", stream_id) + block)

    def open(self, stream_id: int, headers: Mapping[str, str], *, fin: bool = False) -> bytes:
        """SYN_STREAM, what a client sends."""
        body = struct.pack(">IIH", stream_id, 0, 0) + self._header_block(headers)
        return _control(_SYN_STREAM, _FIN if fin else 0, body)

    def data(self, stream_id: int, data: bytes, *, fin: bool = False) -> bytes:
        """One DATA frame; data has less than 16 MB."""
        return struct.pack(">II", stream_id, (_FIN if fin else 0) << 24 | len(data)) + data

    def reset(self, stream_id: int, status: int) -> bytes:
        return _control(_RST_STREAM, 0, struct.pack(">II", stream_id, status))

    def ping(self, ping_id: int) -> bytes:
        return _control(_PING, 0, struct.pack(">I", ping_id))

    def go_away(self, last_stream_id: int) -> bytes:
        """GOAWAY with status OK."""
        return _control(_GOAWAY, 0, struct.pack(">II", last_stream_id, 0))

    def _header_block(self, headers: Mapping[str, str]) -> bytes:
        plain = struct.pack(">I", len(headers))
        plain += b"".join(_prefixed(name.lower()) + _prefixed(value) for name, value in headers.items())
        return self._headers.compress(plain) + self._headers.flush(zlib.Z_SYNC_FLUSH)


def _control(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack(">HHI", 0x8000 | _VERSION, kind, flags << 24 | len(body)) + body
