"""Exec, attach and port-forward over WebSocket channels, message by message."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson
import pytest
from patience import PATIENCE
from wire_cluster import RUNNING, Wire
from wire_node import ProcessSession, shell

from podbay.apiserver.streams import ExecOptions

pytestmark = pytest.mark.asyncio(loop_scope="package")

V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"


@asynccontextmanager
async def opened(
    wire: Wire, path: str, *protocols: str, **query: Any
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    url = f"{wire.pods_url}/{path}?{urlencode(query, doseq=True)}"
    async with wire.client() as client, client.ws_connect(url, protocols=protocols) as socket:
        yield socket


async def messages(socket: aiohttp.ClientWebSocketResponse) -> list[tuple[int, bytes]]:
    """Everything until the server closes, data of one channel put together."""
    found: dict[int, bytes] = {}
    async with asyncio.timeout(PATIENCE):
        async for message in socket:
            found[message.data[0]] = found.get(message.data[0], b"") + message.data[1:]
    return sorted(found.items())


def execute(script: str, **more: Any) -> dict[str, Any]:
    return {"command": list(shell(script)), "stdout": "true", "stderr": "true", **more}


async def refusal(wire: Wire, path: str, *protocols: str, **query: Any) -> tuple[int, str]:
    """Status and body of an answer that is no upgrade."""
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
    }
    if protocols:
        headers["Sec-WebSocket-Protocol"] = ", ".join(protocols)
    url = f"{wire.pods_url}/{path}?{urlencode(query, doseq=True)}"
    async with wire.client() as client, client.get(url, headers=headers) as answer:
        return answer.status, await answer.text()


async def test_v5_greets_and_tells_the_exit_code(wire: Wire) -> None:
    async with opened(wire, "p/exec", V5, V4, **execute("exit 3")) as socket:
        assert socket.protocol == V5
        assert await socket.receive_bytes() == b"\x01"
        assert await messages(socket) == [
            (
                3,
                b'{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: command '
                b'terminated with exit code 3","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode",'
                b'"message":"3"}]}}',
            )
        ]


async def test_v4_has_the_runtimes_words(wire: Wire) -> None:
    async with opened(wire, "p/exec", V4, **execute("exit 3")) as socket:
        status = orjson.loads(dict(await messages(socket))[3])
        words = (
            "command terminated with non-zero exit code: error executing command [sh -c exit 3], exit code 3"
        )
        assert status["message"] == words


async def test_success(wire: Wire) -> None:
    async with opened(wire, "p/exec", V4, **execute("echo out; echo err >&2")) as socket:
        assert await messages(socket) == [
            (1, b"out\n"),
            (2, b"err\n"),
            (3, b'{"metadata":{},"status":"Success"}'),
        ]


async def test_base64_channels(wire: Wire) -> None:
    query = execute("cat; exit 2", stdin="1")
    async with opened(wire, "p/exec", "v4.base64.channel.k8s.io", **query) as socket:
        assert await socket.receive_str() == "1"
        await socket.send_str("0" + base64.b64encode(b"text\n").decode())
        await socket.send_str("0not base64!")
        assert base64.b64decode((await socket.receive_str())[1:]) == b"text\n"


@pytest.mark.parametrize("protocols", [(), ("channel.k8s.io",)])
async def test_before_v4_only_failures_are_told(wire: Wire, protocols: tuple[str, ...]) -> None:
    async with opened(wire, "p/exec", *protocols, **execute("exit 1")) as socket:
        assert await messages(socket) == [
            (1, b""),
            (
                3,
                b"command terminated with non-zero exit code: error executing command [sh -c exit 1], exit code 1",
            ),
        ]
    async with opened(wire, "p/exec", *protocols, **execute("true")) as socket:
        assert await messages(socket) == [(1, b"")]


async def test_a_killed_process(wire: Wire) -> None:
    async with opened(wire, "p/exec", V5, **execute("kill -9 $$")) as socket:
        status = orjson.loads(dict(await messages(socket))[3])
        assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "137"}]


async def test_v5_closes_stdin(wire: Wire) -> None:
    query = {"command": ["sh", "-c", "cat; echo end"], "stdin": "true", "stdout": "true"}
    async with opened(wire, "p/exec", V5, **query) as socket:
        await socket.send_bytes(b"\x00text\n")
        await socket.send_bytes(b"\xff\x00")
        assert dict(await messages(socket))[1] == b"text\nend\n"


async def test_only_what_was_asked_for_is_sent(wire: Wire) -> None:
    query = {"command": list(shell("echo out; echo err >&2")), "stderr": "true"}
    async with opened(wire, "p/exec", V4, **query) as socket:
        assert [channel for channel, _ in await messages(socket)] == [2, 3]


async def test_messages_that_mean_nothing_are_passed_over(wire: Wire) -> None:
    async with opened(wire, "p/exec", V5, **execute("read l; echo got $l", stdin="1")) as socket:
        for junk in (b"", b"\x07x", b"\xff", b"\xff\x00\x01", b"\x04{nonsense}", b"\x01out", b"\x03err"):
            await socket.send_bytes(junk)
        await socket.send_str("\x00te")
        await socket.send_bytes(b"\x00xt\n")
        assert dict(await messages(socket))[1] == b"got text\n"


async def test_a_terminal_is_resized(wire: Wire) -> None:
    query = execute("read l; stty size", stdin="1", tty="1")
    async with opened(wire, "p/exec", V4, **query) as socket:
        await socket.send_bytes(b'\x04{"Width":101,"Height":43}')
        await socket.send_bytes(b"\x00\n")
        assert b"43 101" in dict(await messages(socket))[1]


async def test_attach_ends_well_whatever_the_exit_code(wire: Wire) -> None:
    options = ExecOptions(container="main", command=shell("read l; echo bye; exit 9"), stdin=True)
    main = wire.node.main = await ProcessSession.start(wire.node, options)
    try:
        async with opened(wire, "p/attach", V5, stdin="1", stdout="1") as socket:
            await socket.send_bytes(b"\x00\n")
            assert await messages(socket) == [(1, b"bye\n"), (3, b'{"metadata":{},"status":"Success"}')]
    finally:
        wire.node.main = None
        await main.aclose()


async def test_refusals_before_anything_is_upgraded(wire: Wire) -> None:
    await wire.add_pod("two", RUNNING, containers=[{"name": n, "image": "i"} for n in ("a", "b")])
    await wire.add_pod("homeless", {"phase": "Pending"}, node="")
    for path, protocol, query, message in [
        (
            "two/exec",
            V5,
            execute("true"),
            "a container name must be specified for pod two, choose one of: [a b]",
        ),
        ("p/exec", V5, execute("true", container="x"), "container x is not valid for pod p"),
        ("homeless/exec", V4, execute("true"), "pod homeless does not have a host assigned"),
        ("homeless/attach", V5, {"stdout": "1"}, "pod homeless does not have a host assigned"),
        ("homeless/portforward", V4, {"ports": "80"}, "pod homeless does not have a host assigned"),
        (
            "p/portforward",
            V4,
            {"ports": "http"},
            'cannot convert to []int32: strconv.ParseUint: parsing "http": invalid syntax',
        ),
    ]:
        code, body = await refusal(wire, path, protocol, **query)
        status = orjson.loads(body)
        assert (code, status["kind"], status["reason"], status["message"]) == (
            400,
            "Status",
            "BadRequest",
            message,
        )


async def test_refusals_of_the_kubelet_are_plain_text(wire: Wire) -> None:
    await wire.add_pod("gone", {**RUNNING, "phase": "Failed"})
    nothing = "you must specify at least 1 of stdin, stdout, stderr"
    assert await refusal(wire, "p/exec", V4, command="true") == (400, nothing)
    assert await refusal(wire, "gone/exec", V4, **execute("true")) == (500, 'container not found ("main")')
    assert await refusal(wire, "p/portforward", V4) == (400, 'query parameter "port" is required')
    assert await refusal(wire, "p/portforward", V4, ports="0") == (400, 'port "0" must be > 0')
    for path, query, words in [
        ("p/exec", {"command": "true"}, nothing),
        ("gone/exec", execute("true"), 'container not found ("main")'),
    ]:
        async with opened(wire, path, V5, **query) as socket:
            status = orjson.loads(dict(await messages(socket))[3])
            assert status["message"] == f"Internal error occurred: unable to upgrade connection: {words}"
            assert status["code"] == 500


async def test_no_command(wire: Wire) -> None:
    for protocol in (V4, V5):
        async with opened(wire, "p/exec", protocol, stdout="1") as socket:
            status = orjson.loads(dict(await messages(socket))[3])
            assert (status["reason"], status["code"]) == ("InternalError", 500)
            assert "no command was given" in status["message"]


async def test_protocols_that_are_not_spoken(wire: Wire) -> None:
    assert await refusal(wire, "p/exec", "v9.channel.k8s.io", **execute("true")) == (403, "")
    assert await refusal(wire, "p/portforward", "v5.channel.k8s.io", ports="80") == (403, "")


async def test_requests_that_are_no_upgrade(wire: Wire) -> None:
    async with wire.client() as client:
        for path in ("p/exec?command=true&stdout=1", "p/attach?stdout=1", "p/portforward"):
            for method in ("GET", "POST"):
                async with client.request(method, f"{wire.pods_url}/{path}") as answer:
                    assert answer.status == 400
                    assert (await answer.json())["message"] == "Upgrade request required"
        headers = {"Connection": "Upgrade", "Upgrade": "carrier-pigeon"}
        async with client.post(f"{wire.pods_url}/p/exec?stdout=1", headers=headers) as answer:
            assert answer.status == 400
        headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
        async with client.get(f"{wire.pods_url}/p/exec?stdout=1&command=true", headers=headers) as answer:
            assert answer.status == 400


async def test_ports_are_announced_and_carried(wire: Wire) -> None:
    async def double(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline() * 2)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(double, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    dead = await asyncio.start_server(double, "127.0.0.1", 0)
    dead_port = dead.sockets[0].getsockname()[1]
    dead.close()
    await dead.wait_closed()
    async with server, opened(wire, "p/portforward", V4, ports=f"{port},{dead_port}") as socket:
        for channel, number in [(0, port), (1, port), (2, dead_port), (3, dead_port)]:
            assert await socket.receive_bytes() == bytes([channel]) + number.to_bytes(2, "little")
        await socket.send_bytes(b"\x00line\n")
        found = dict(await messages(socket))
        assert found[0] == b"line\nline\n"
        assert found[3].startswith(
            f"error forwarding port {dead_port} to pod p, uid : failed to connect".encode()
        )
