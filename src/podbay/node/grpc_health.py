"""The one gRPC call that probes make: grpc.health.v1.Health/Check, without TLS.

Only what this call needs of HTTP/2 (RFC 9113) and HPACK (RFC 7541): headers are sent as literals without compression,
and the answer is read from the message alone, so that no header of the server has to be understood.
"""

from __future__ import annotations

import asyncio

__all__ = ["check_health"]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _END_HEADERS, _ACK, _PADDED = 1, 4, 1, 8
_STREAM = 1
_STATUS = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


async def check_health(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, service: str, authority: str
) -> str:
    """The status's name. Raises OSError or IncompleteReadError when the server does not answer the call."""
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    writer.write(_PREFACE + _frame(_SETTINGS, 0, 0, b""))
    writer.write(_frame(_HEADERS, _END_HEADERS, _STREAM, _headers(authority)))
    writer.write(_frame(_DATA, _END_STREAM, _STREAM, b"\0" + len(message).to_bytes(4, "big") + message))
    await writer.drain()
    answer = b""
    while True:
        kind, flags, stream, payload = await _read_frame(reader)
        if kind == _SETTINGS and not flags & _ACK:
            writer.write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            writer.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _DATA and stream == _STREAM:
            answer += payload[1 : len(payload) - payload[0]] if flags & _PADDED else payload
        elif kind in (_GOAWAY, _RESET):
            raise ConnectionResetError(104, "the server ended the call")
        if stream == _STREAM and flags & _END_STREAM and kind in (_DATA, _HEADERS):
            return _status(answer)


def _status(answer: bytes) -> str:
    if len(answer) < 5:
        raise ConnectionResetError(104, "the call failed")
    message = answer[5:]
    # HealthCheckResponse has one field: number 1, an enumeration; zero is left out on the wire.
    return _STATUS.get(message[1] if len(message) > 1 and message[0] == 8 else 0, "UNKNOWN")


def _headers(authority: str) -> bytes:
    pairs = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("user-agent", "kube-probe/1.36"),
        ("te", "trailers"),
    )
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in pairs)


def _text(text: str) -> bytes:
    data = text.encode()
    return bytes([len(data)]) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


async def _read_frame(reader: asyncio.StreamReader) -> tuple[int, int, int, bytes]:
    head = await reader.readexactly(9)
    length = int.from_bytes(head[:3], "big")
    return head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFFFFFF, await reader.readexactly(length)
