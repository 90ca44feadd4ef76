"""Clients that vanish, do not read, or talk nonsense: nothing stays open, nothing hangs, nothing grows."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import orjson
import pytest
from patience import PATIENCE
from test_wire_websocket import V4, V5, execute, messages, opened
from wire_cluster import RUNNING, Wire
from wire_node import LocalNode, shell

from podbay.apiserver.wire import remote_command
from podbay.apiserver.wire.spdy_frames import FrameReader, FrameWriter
from podbay.embedded.cluster import EmbeddedCluster
from podbay.objects.nodes import NODES

pytestmark = pytest.mark.asyncio(loop_scope="package")


def cut(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Reset the connection without a word."""
    connection = socket._conn
    assert connection is not None and connection.transport is not None
    connection.transport.abort()


@pytest.mark.parametrize("protocol", [V4, V5])
async def test_a_client_that_vanishes_ends_its_command(wire: Wire, protocol: str) -> None:
    async with opened(wire, "p/exec", protocol, **execute("echo; sleep 600", stdin="1")) as socket:
        while await socket.receive_bytes() != b"\x01\n":
            pass
        assert len(wire.node.open) == 1
        cut(socket)
        await wire.node.wait_closed()


async def test_a_client_that_says_goodbye_ends_its_command(wire: Wire) -> None:
    async with opened(wire, "p/exec", V5, **execute("sleep 600")) as socket:
        await socket.receive_bytes()
        await asyncio.wait_for(socket.close(), PATIENCE)
    await wire.node.wait_closed()


async def test_vanishing_is_noticed_while_input_is_stuck(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_command, "PING_SECONDS", 0.2)
    async with opened(wire, "p/exec", V5, **execute("exec sleep 600", stdin="1")) as socket:
        await socket.receive_bytes()
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                await socket.send_bytes(b"\x00" + bytes(65536))
                sent += 65536

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flood(), 2)
        # The server has stopped reading: kernel buffers and a few messages, not all that the client would send.
        assert sent < 32 * 1024 * 1024
        cut(socket)
        await wire.node.wait_closed()


@pytest.mark.parametrize("protocol", [V4, V5])
async def test_a_client_that_does_not_read_stops_the_command(wire: Wire, protocol: str) -> None:
    wire.node.produced = 0
    async with opened(wire, "p/exec", protocol, **execute("cat /dev/zero")) as socket:
        produced = -1
        async with asyncio.timeout(PATIENCE):
            while produced != wire.node.produced or not produced:
                produced = wire.node.produced
                await asyncio.sleep(0.3)
        assert produced < 32 * 1024 * 1024
        cut(socket)
    await wire.node.wait_closed()


@pytest.mark.parametrize("protocol", [V4, V5])
async def test_a_slow_client_gets_everything(wire: Wire, protocol: str) -> None:
    query = execute("head -c 6000000 /dev/zero; exit 4")
    async with opened(wire, "p/exec", protocol, **query) as socket:
        await asyncio.sleep(1)
        found = dict(await messages(socket))
        assert len(found[1]) == 6_000_000
        assert orjson.loads(found[3])["details"]["causes"][0]["message"] == "4"


async def test_output_of_a_process_left_behind_comes_while_there_is_some(wire: Wire) -> None:
    script = "(for i in 1 2 3 4; do sleep 0.4; echo $i; done; sleep 600) & exit 5"
    async with opened(wire, "p/exec", V5, **execute(script)) as socket:
        found = dict(await messages(socket))
        assert found[1] == b"1\n2\n3\n4\n"
        assert b'"message":"5"' in found[3]


async def test_many_sessions_at_once(wire: Wire) -> None:
    async def one(number: int) -> None:
        async with opened(wire, "p/exec", V5, **execute(f"echo {number}; exit {number % 2}")) as socket:
            found = dict(await messages(socket))
            assert found[1] == f"{number}\n".encode()
            assert (b"Failure" in found[3]) == bool(number % 2)

    await asyncio.gather(*(one(number) for number in range(40)))


async def test_a_message_over_the_limit_ends_the_session(wire: Wire) -> None:
    async with opened(wire, "p/exec", V5, **execute("cat >/dev/null; sleep 600", stdin="1")) as socket:
        await socket.receive_bytes()
        with pytest.raises((ConnectionError, aiohttp.ClientError, AssertionError)):
            await socket.send_bytes(bytes(33 * 1024 * 1024))
            assert await messages(socket)
    await wire.node.wait_closed()


class Spdy:
    """A client on the raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.frames, self.made = FrameReader(), FrameWriter()

    @classmethod
    async def open(cls, wire: Wire, path: str, protocol: str) -> tuple[Spdy, bytes]:
        """The connection after the answer, and the answer."""
        host, port = wire.cluster.server.host, wire.cluster.server.port
        reader, writer = await asyncio.open_connection(host, port, ssl=wire.tls())
        head = (
            f"POST /api/v1/namespaces/default/pods/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
            f"Authorization: Bearer {wire.cluster.token}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
        )
        if protocol:
            head += f"X-Stream-Protocol-Version: {protocol}\r\n"
        writer.write(f"{head}\r\n".encode())
        return cls(reader, writer), await reader.readuntil(b"\r\n\r\n")

    def streams(self, *kinds: str, **headers: str) -> None:
        for number, kind in enumerate(kinds):
            self.writer.write(self.made.open(2 * number + 1, {"streamtype": kind, **headers}))

    async def data(self) -> dict[int, bytes]:
        """Data of each stream until the server says goodbye."""
        found: dict[int, bytes] = {}
        async with asyncio.timeout(PATIENCE):
            while received := await self.reader.read(65536):
                for frame in self.frames.feed(received):
                    if type(frame).__name__ == "DataFrame":
                        found[frame.stream_id] = found.get(frame.stream_id, b"") + frame.data
                    if type(frame).__name__ == "GoAwayFrame":
                        return found
        return found


def exec_path(script: str) -> str:
    return f"p/exec?{urlencode(execute(script), doseq=True)}"


@pytest.mark.parametrize(
    ("protocol", "status"),
    [
        ("v4.channel.k8s.io", b'"message":"2"'),
        (
            "v2.channel.k8s.io",
            b"command terminated with non-zero exit code: error executing command [sh -c exit 2]",
        ),
        ("", b"command terminated with non-zero exit code"),
    ],
)
async def test_spdy_protocols(wire: Wire, protocol: str, status: bytes) -> None:
    client, answer = await Spdy.open(wire, exec_path("exit 2"), protocol)
    assert answer.startswith(b"HTTP/1.1 101")
    assert b"upgrade: spdy/3.1\r\n" in answer.lower()
    assert (f"x-stream-protocol-version: {protocol}".encode() in answer.lower()) == bool(protocol)
    client.streams("error", "stdout", "stderr")
    found = await client.data()
    assert status in found[1]
    client.writer.close()


async def test_spdy_protocol_that_is_not_spoken(wire: Wire) -> None:
    client, answer = await Spdy.open(wire, exec_path("true"), "v9.channel.k8s.io")
    assert answer.startswith(b"HTTP/1.1 403")
    assert answer.lower().count(b"x-accepted-stream-protocol-versions") == 4
    client.writer.close()


@pytest.mark.parametrize("nonsense", [b"GET / HTTP/1.1\r\n\r\n" * 10, b"\x80\x02" + bytes(100), bytes(3)])
async def test_nonsense_on_a_spdy_connection(wire: Wire, nonsense: bytes) -> None:
    client, _ = await Spdy.open(wire, exec_path("sleep 600"), V4)
    client.writer.write(nonsense)
    await client.writer.drain()
    await asyncio.sleep(0.2)
    client.writer.transport.abort()
    await wire.node.wait_closed()


async def test_a_spdy_client_that_vanishes(wire: Wire) -> None:
    client, _ = await Spdy.open(wire, exec_path("sleep 600"), V4)
    client.streams("error", "stdout", "stderr")
    await client.reader.read(10)
    assert len(wire.node.open) == 1
    client.writer.transport.abort()
    await wire.node.wait_closed()


async def test_a_spdy_client_that_does_not_read(wire: Wire) -> None:
    wire.node.produced = 0
    client, _ = await Spdy.open(wire, exec_path("cat /dev/zero"), V4)
    client.streams("error", "stdout", "stderr")
    client.writer.transport.pause_reading()
    produced = -1
    async with asyncio.timeout(PATIENCE):
        while produced != wire.node.produced or not produced:
            produced = wire.node.produced
            await asyncio.sleep(0.3)
    assert produced < 32 * 1024 * 1024
    client.writer.transport.abort()
    await wire.node.wait_closed()


async def test_spdy_streams_that_nobody_asked_for_are_refused(wire: Wire) -> None:
    client, _ = await Spdy.open(wire, exec_path("sleep 600"), V4)
    client.streams("error", "stdout", "stdout", "stdin", "video")
    refused: list[int] = []
    async with asyncio.timeout(PATIENCE):
        while len(refused) < 3:
            frames = client.frames.feed(await client.reader.read(65536))
            refused += [f.stream_id for f in frames if type(f).__name__ == "ResetFrame"]
    assert refused == [5, 7, 9]
    client.writer.transport.abort()
    await wire.node.wait_closed()


async def test_forwarded_connections_end_with_their_client(wire: Wire) -> None:
    held = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        client, answer = await Spdy.open(wire, "p/portforward", "portforward.k8s.io")
        assert answer.startswith(b"HTTP/1.1 101")
        client.streams("error", "data", port=str(port), requestid="0")
        client.writer.write(client.made.open(5, {"streamtype": "data", "port": "http"}))
        async with asyncio.timeout(PATIENCE):
            await held.wait()
        assert len(wire.node.open) == 1
        client.writer.transport.abort()
        await wire.node.wait_closed()


async def test_a_cluster_that_stops_ends_its_sessions() -> None:
    async with EmbeddedCluster() as cluster:
        node = LocalNode()
        await cluster.api().create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "local"}})
        cluster.server.core.nodes["local"] = node
        wire = Wire(cluster, node, Path())
        await wire.add_pod("p", RUNNING)
        query = urlencode({"command": list(shell("sleep 600")), "stdout": "1"}, doseq=True)
        client = wire.client()
        socket = await client.ws_connect(f"{wire.pods_url}/p/exec?{query}", protocols=(V5,))
        logs = await client.get(f"{wire.pods_url}/p/log?follow=1")
        assert len(node.open) == 2
        watch = await client.get(f"{wire.pods_url}?watch=1")
        begin = asyncio.get_running_loop().time()
    # Nobody waits for requests that would never end by themselves.
    assert asyncio.get_running_loop().time() - begin < 30
    await node.wait_closed()
    watch.close()
    logs.close()
    await socket.close()
    await client.close()
