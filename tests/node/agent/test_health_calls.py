"""The gRPC health call against a server that speaks just enough HTTP/2."""

from __future__ import annotations

import asyncio

import pytest

from podbay.node.grpc_health import check_health


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class HealthServer:
    """Answers one call with given frames and keeps what it was asked."""

    def __init__(self, *frames: bytes) -> None:
        self._frames = frames
        self.service = b""
        self.acknowledged = False

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except asyncio.IncompleteReadError:
            # The client has what it wants.
            pass
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        preface = await reader.readexactly(24)
        assert preface == b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        writer.write(_frame(4, 0, 0, b""))
        answered = False
        while not (answered and self.acknowledged):
            head = await reader.readexactly(9)
            payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
            if head[3] == 4 and head[4] & 1:
                self.acknowledged = True
            if head[3] == 0:
                self.service = payload[7:]
                for frame in self._frames:
                    writer.write(frame)
                answered = True


async def call(server: HealthServer, service: str = "") -> str:
    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            return await check_health(reader, writer, service=service, authority=f"127.0.0.1:{port}")
        finally:
            writer.close()
            await writer.wait_closed()


HEADERS = _frame(1, 4, 1, b"\x88")
TRAILERS = _frame(1, 5, 1, b"\x88")


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (b"\x08\x01", "SERVING"),
        (b"\x08\x02", "NOT_SERVING"),
        (b"\x08\x03", "SERVICE_UNKNOWN"),
        (b"", "UNKNOWN"),
    ],
)
async def test_the_status_is_read(message: bytes, status: str) -> None:
    data = _frame(0, 0, 1, b"\0" + len(message).to_bytes(4, "big") + message)
    server = HealthServer(_frame(6, 0, 0, b"12345678"), HEADERS, data, TRAILERS)
    assert await call(server, "my.Service") == status
    assert server.service == b"my.Service"


async def test_a_call_that_fails_without_a_message() -> None:
    with pytest.raises(ConnectionResetError):
        await call(HealthServer(TRAILERS))


async def test_a_server_that_resets_the_call() -> None:
    with pytest.raises(ConnectionResetError):
        await call(HealthServer(_frame(3, 0, 1, b"\0\0\0\2")))
