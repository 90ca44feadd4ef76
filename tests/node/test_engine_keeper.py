"""The keeper's program, run as it is: files, connections, the first process of a pod."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import images
import pytest
from patience import PATIENCE, until

import podbay.node.engine

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files get owners")


@pytest.fixture(scope="module", params=["shipped", "built"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The one in the package, and one just made from the source."""
    name = f"keeper-{images.ARCHITECTURE}"
    if request.param == "shipped":
        return str(files(podbay.node.engine).joinpath("keeper", name))
    if not all(shutil.which(f"{machine}-linux-gnu-gcc") for machine in ("x86_64", "aarch64")):
        pytest.skip("needs gcc and gcc-aarch64-linux-gnu")
    directory = tmp_path_factory.mktemp("keeper")
    subprocess.run([ROOT / "script" / "build-keeper", directory], check=True)
    return str(directory / name)


def test_the_source_is_what_was_built(program: str) -> None:
    """Fails when keeper.c was changed and not compiled. Compilers differ in their code, so its size is compared."""
    shipped = files(podbay.node.engine).joinpath("keeper", f"keeper-{images.ARCHITECTURE}").read_bytes()
    assert abs(len(shipped) - Path(program).stat().st_size) < 512


class Server:
    """One `keeper serve`."""

    def __init__(self, program: str) -> None:
        self.process = subprocess.Popen(
            [program, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def ask(self, letter: str, *words: object, data: bytes = b"") -> tuple[int, bytes]:
        payload = letter.encode() + b"".join(os.fsencode(str(w).lstrip("/")) + b"\0" for w in words) + data
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(struct.pack(">I", len(payload)) + payload)
        (size,) = struct.unpack(">I", self._read(4))
        answer = self._read(size)
        return answer[0], answer[1:]

    def _read(self, size: int) -> bytes:
        assert self.process.stdout is not None
        data = b""
        while len(data) < size:
            chunk = self.process.stdout.read(size - len(data))
            assert chunk, "it has ended"
            data += chunk
        return data


@pytest.fixture
def server(program: str) -> Iterator[Server]:
    opened = Server(program)
    yield opened
    assert opened.process.stdin is not None
    assert opened.process.stdout is not None
    opened.process.stdin.close()
    assert opened.process.wait(PATIENCE) == 0
    opened.process.stdout.close()


def test_files_have_the_wanted_owner_and_mode(server: Server, tmp_path: Path) -> None:
    assert server.ask("m", tmp_path / "d", "2750", 7, 8) == (0, b"")
    assert server.ask("w", tmp_path / "d/f", "640", 1, 2, data=b"one") == (0, b"")
    assert server.ask("a", tmp_path / "d/f", data=b"two") == (0, b"")
    found = (tmp_path / "d").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o2750, 7, 8)
    found = (tmp_path / "d/f").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o640, 1, 2)
    assert (tmp_path / "d/f").read_bytes() == b"onetwo"
    assert server.ask("w", tmp_path / "d/f", "600", 0, 0, data=b"new") == (0, b"")
    assert (tmp_path / "d/f").read_bytes() == b"new"


def test_looking(server: Server, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    (tmp_path / "l").symlink_to("some/where")
    status, answer = server.ask("l", tmp_path / "l")
    assert (status, answer[12:]) == (0, b"some/where")
    assert stat.S_ISLNK(struct.unpack_from("<I", answer)[0])
    assert server.ask("l", tmp_path / "no")[0] == errno.ENOENT
    assert server.ask("d", tmp_path) in ((0, b"f\0l\0"), (0, b"l\0f\0"))
    assert server.ask("g", tmp_path / "f", 4) == (0, b"6789")
    assert server.ask("g", tmp_path / "f", 400) == (0, b"0123456789")


def test_switching_a_link(server: Server, tmp_path: Path) -> None:
    server.ask("s", tmp_path / "new", "two")
    (tmp_path / "data").symlink_to("one")
    assert server.ask("n", tmp_path / "new", tmp_path / "data") == (0, b"")
    assert (tmp_path / "data").readlink() == Path("two")


def test_links_are_never_followed(server: Server, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_text("kept")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "way").symlink_to(outside)
    (inside / "file").symlink_to(outside / "f")
    for ask in (
        ("w", inside / "way/f", "600", 0, 0),
        ("w", inside / "file", "600", 0, 0),
        ("m", inside / "way/d", "700", 0, 0),
        ("n", inside / "way/f", inside / "g"),
        ("r", inside / "way/f"),
        ("g", inside / "file", 10),
        ("w", inside / "../outside/f", "600", 0, 0),
    ):
        assert server.ask(*ask)[0] != 0, ask
    assert server.ask("r", inside) == (0, b"")
    assert (outside / "f").read_text() == "kept"


def test_trees_of_any_depth_go(server: Server, tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    # Names like those that the removal itself gives.
    for number in range(300):
        (top / f"..removed-{number}" / "x").mkdir(parents=True)
    assert int(server.ask("u", top)[1]) > 0
    assert server.ask("r", top) == (0, b"")
    assert not top.exists()
    assert server.ask("r", top) == (0, b"")


def test_usage_counts_what_is_inside(server: Server, tmp_path: Path) -> None:
    (tmp_path / "u").mkdir()
    assert server.ask("u", tmp_path / "u") == (0, b"0")
    (tmp_path / "u" / "f").write_bytes(b"x" * 1_000_000)
    assert 1_000_000 <= int(server.ask("u", tmp_path / "u")[1]) < 1_100_000
    assert server.ask("u", tmp_path / "missing") == (0, b"0")


@pytest.mark.parametrize("ask", [("z",), ("w", "x"), ("m", ""), ("m", ".", "7", 0, 0), ("l", "tmp//b")])
def test_nonsense_is_refused(server: Server, ask: tuple[object, ...]) -> None:
    assert server.ask(*ask)[0] == errno.EINVAL  # type: ignore[arg-type]


def test_a_connection(program: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_echo, args=(listener,), daemon=True).start()
        port = listener.getsockname()[1]
        done = subprocess.run(
            [program, "connect", str(port)],
            input=b"hello" * 10000,
            capture_output=True,
            timeout=10,
            check=False,
        )
    assert (done.returncode, done.stdout) == (0, b"+" + b"hello" * 10000)
    refused = subprocess.run(
        [program, "connect", str(port)], input=b"", capture_output=True, timeout=10, check=False
    )
    assert (refused.returncode, refused.stdout) == (errno.ECONNREFUSED, b"")


def _echo(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)


def test_the_first_process_ends_when_told(program: str) -> None:
    process = subprocess.Popen([program, "pause"])
    time.sleep(0.1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 128 + signal.SIGTERM


def test_the_first_process_reaps_orphans(program: str) -> None:
    # It takes the shell's place and with it the shell's child, which ends a moment later.
    process = subprocess.Popen(["sh", "-c", 'sleep 0.3 & exec "$0" pause', program])
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == f"{Path(program).name[:15]}\n")
        until(lambda: children.read_text() == "")
    finally:
        process.kill()
        process.wait()


def test_killing(program: str) -> None:
    victim = subprocess.Popen(["sleep", "100"])
    assert subprocess.run([program, "kill", str(victim.pid)], check=False).returncode == 0
    assert victim.wait(5) == -signal.SIGKILL
    assert subprocess.run([program, "kill", str(victim.pid)], check=False).returncode == 1


def test_it_says_when_it_is_not_understood(program: str) -> None:
    assert subprocess.run([program, "what"], check=False).returncode == 64
