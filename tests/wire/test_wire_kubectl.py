"""kubectl, the real one, against processes of this machine."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from patience import PATIENCE
from wire_cluster import RUNNING, Wire
from wire_node import ProcessSession, shell

from podbay.apiserver.streams import ExecOptions

pytestmark = pytest.mark.asyncio(loop_scope="package")

SPDY = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"}


@pytest.fixture(params=[{}, SPDY], ids=["websocket", "spdy"])
def env(request: pytest.FixtureRequest) -> dict[str, str]:
    """Both protocols kubectl has."""
    return dict(request.param)


async def test_exec_gives_both_outputs_and_the_exit_code(wire: Wire, env: dict[str, str]) -> None:
    script = "echo out; echo err >&2; exit 3"
    code, out, err = await wire.kubectl("exec", "p", "--", "sh", "-c", script, env=env)
    assert (code, out) == (3, b"out\n")
    assert err == b"err\ncommand terminated with exit code 3\n"


async def test_exec_hands_stdin_to_its_end(wire: Wire, env: dict[str, str]) -> None:
    text = bytes(range(256)) * 8000
    code, out, err = await wire.kubectl("exec", "-i", "p", "--", "cat", stdin=text, env=env)
    assert (code, err) == (0, b"")
    assert out == text


async def test_exec_brings_large_output_whole(wire: Wire, env: dict[str, str]) -> None:
    script = "head -c 8000000 /dev/zero | tr '\\0' x"
    code, out, _ = await wire.kubectl("exec", "p", "--", "sh", "-c", script, env=env)
    assert code == 0
    assert out == b"x" * 8_000_000


async def test_exec_of_what_does_not_exist(wire: Wire, env: dict[str, str]) -> None:
    code, _, err = await wire.kubectl("exec", "p", "--", "/no/such/program", env=env)
    assert code == 1
    assert b'error executing command in container: exec: "/no/such/program": not found' in err


async def test_exec_where_the_container_is_gone(wire: Wire, env: dict[str, str]) -> None:
    # kubectl looks at the phase first, so it must change behind its back.
    pod = f"odd-{len(env)}"
    await wire.add_pod(pod, {**RUNNING, "phase": "Unknown"})
    code, _, err = await wire.kubectl("exec", pod, "--", "true", env=env)
    assert code == 1
    assert b'unable to upgrade connection: container not found ("main")' in err


async def test_exec_ends_although_a_child_holds_the_output(wire: Wire, env: dict[str, str]) -> None:
    code, out, _ = await wire.kubectl("exec", "p", "--", "sh", "-c", "sleep 600 & echo done", env=env)
    assert (code, out) == (0, b"done\n")


@asynccontextmanager
async def in_terminal(
    wire: Wire, env: dict[str, str], *arguments: str
) -> AsyncIterator[tuple[int, asyncio.subprocess.Process]]:
    """kubectl in a terminal of 97 x 31; gives the terminal's other end."""
    terminal, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *wire.kubectl_command(*arguments),
        stdin=side,
        stdout=side,
        stderr=side,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        env={**os.environ, **env},
    )
    os.close(side)
    try:
        yield terminal, process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(terminal)


async def read_until(terminal: int, wanted: bytes) -> bytes:
    """What appears on the terminal up to wanted."""
    seen = b""

    def read() -> bytes:
        try:
            return os.read(terminal, 65536)
        except OSError:
            return b""

    async with asyncio.timeout(PATIENCE):
        while wanted not in seen:
            data = await asyncio.to_thread(read)
            assert data, f"the terminal closed after {seen!r}"
            seen += data
    return seen


async def test_exec_in_a_terminal(wire: Wire, env: dict[str, str]) -> None:
    async with in_terminal(wire, env, "exec", "-it", "p", "--", "sh") as (terminal, process):
        # kubectl tells the size beside the input. The brackets keep the size out of what the terminal echoes.
        wait = b"until stty size | grep '%s'; do sleep 0.05; done\n"
        os.write(terminal, b"echo is-tty-$(test -t 0 && echo yes)\n")
        await read_until(terminal, b"is-tty-yes")
        os.write(terminal, wait % b"3[1] 9[7]")
        await read_until(terminal, b"31 97")
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        os.write(terminal, wait % b"4[0] 12[0]")
        await read_until(terminal, b"40 120")
        os.write(terminal, b"exit 7\n")
        await read_until(terminal, b"exit code 7")
        assert await process.wait() == 7


async def test_attach_sees_and_feeds_the_main_process(wire: Wire, env: dict[str, str]) -> None:
    main = wire.node.main = await ProcessSession.start(
        wire.node,
        ExecOptions(container="main", command=shell("while read l; do echo got $l; done"), stdin=True),
    )
    try:
        process = await asyncio.create_subprocess_exec(
            *wire.kubectl_command("attach", "-i", "p"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **env},
        )
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"one\n")
        async with asyncio.timeout(PATIENCE):
            assert await process.stdout.readline() == b"got one\n"
        process.kill()
        await process.communicate()
        assert main.process.returncode is None, "the main process ended with its client"
    finally:
        wire.node.main = None
        await main.aclose()


async def test_cp_both_ways(wire: Wire, tmp_path: Path) -> None:
    source, there, back = tmp_path / "source", tmp_path / "there", tmp_path / "back"
    source.mkdir()
    there.mkdir()
    (source / "big").write_bytes(os.urandom(3_000_000))
    (source / "small").write_text("text")
    code, _, err = await wire.kubectl("cp", str(source), f"p:{there}/copy")
    assert (code, err) == (0, b"")
    assert (there / "copy" / "big").read_bytes() == (source / "big").read_bytes()
    code, _, err = await wire.kubectl("cp", f"p:{there}/copy", str(back))
    assert code == 0, err
    assert (back / "big").read_bytes() == (source / "big").read_bytes()
    assert (back / "small").read_text() == "text"


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[int]:
    """A server of the pod; gives its port."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads to the end of the request, then answers with its size: needs working half-closes."""
    size = len(await reader.read())
    writer.write(b"%d bytes" % size)
    await writer.drain()
    writer.close()


@asynccontextmanager
async def port_forward(
    wire: Wire, env: dict[str, str], port: int
) -> AsyncIterator[tuple[int, asyncio.StreamReader]]:
    """kubectl port-forward; gives the local port and what kubectl prints."""
    process = await asyncio.create_subprocess_exec(
        *wire.kubectl_command("port-forward", "--address=127.0.0.1", "p", f":{port}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **env},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            line = await process.stdout.readline()
        found = re.search(rb"127\.0\.0\.1:(\d+)", line)
        assert found, line
        yield int(found[1]), process.stdout
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_port_forward_carries_many_connections(wire: Wire, env: dict[str, str]) -> None:
    async def one(port: int, size: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x" * size)
        await writer.drain()
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer

    async with (
        listening(answer_at_the_end) as remote,
        port_forward(wire, env, remote) as (local, _),
        asyncio.timeout(PATIENCE),
    ):
        sizes = [10, 1_000_000, 0, 300_000, 77]
        answers = await asyncio.gather(*(one(local, size) for size in sizes))
        assert answers == [b"%d bytes" % size for size in sizes]


async def test_port_forward_to_a_port_that_nobody_serves(wire: Wire, env: dict[str, str]) -> None:
    async with listening(answer_at_the_end) as remote:
        pass
    async with port_forward(wire, env, remote) as (local, printed), asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", local)
        assert await reader.read() == b""
        writer.close()
        text = b""
        while b"error forwarding port" not in text:
            line = await printed.readline()
            assert line, text
            text += line
        assert b"connection refused" in text


async def test_logs_follow_until_the_container_ends(wire: Wire) -> None:
    wire.node.write_log(b"first\n")
    process = await asyncio.create_subprocess_exec(
        *wire.kubectl_command("logs", "-f", "p"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        assert await process.stdout.readline() == b"first\n"
        wire.node.write_log(b"second\n")
        assert await process.stdout.readline() == b"second\n"
        wire.node.end_log()
        assert await process.stdout.read() == b""
        assert await process.wait() == 0


async def test_logs_follower_that_is_killed_leaves_nothing(wire: Wire) -> None:
    wire.node.write_log(b"first\n")
    process = await asyncio.create_subprocess_exec(
        *wire.kubectl_command("logs", "-f", "p"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        assert await process.stdout.readline() == b"first\n"
    assert len(wire.node.open) == 1
    process.kill()
    await process.communicate()
    await wire.node.wait_closed()
