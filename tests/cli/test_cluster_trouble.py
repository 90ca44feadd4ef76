"""What can be wrong with a machine: one sentence that says what to do, exit code 1, and nothing broken further."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import until
from places import open_directory
from podbay_shell import Shell, alive

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else or to mount")


def start(*more: str) -> list[str]:
    return ["cluster", "start", "--runtime", "none", *more]


def test_port_taken(shell: Shell) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        said = shell.refused(*start("--port", str(port)))
    assert said == (
        f"error: cannot listen on 127.0.0.1:{port}: Address already in use. Stop what uses the port or choose "
        "another with --port (0 picks a free one)."
    )
    shell.start()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "example.com"])
def test_only_loopback(shell: Shell, host: str) -> None:
    said = shell.refused(*start("--host", host))
    assert f"--host {host}: an embedded cluster listens on this machine only." in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nodes: 3", ": expected a list under `nodes`"),
        ("nodes: [{labels: {a: b}}]", ": nodes[0].name: required"),
        ("nodes: [{name: a, colour: red}]", ": nodes[0].colour: unknown field"),
        ("nodes: [{name: a}, {name: a}]", ": two nodes are called 'a'"),
        ("nodes: [{name: a, capacity: {cpu: lots}}]", ": nodes[0].capacity.cpu"),
        ("nodes: [{name: a, taints: [{key: x, effect: Sometimes}]}]", ": nodes[0].taints[0].effect"),
        ("nodes: [{name: A_B}]", ": nodes[0].name"),
        ("nodes: [{name: a}]\nscript: {rules: [{containers: {'*': [{run: soon}]}}]}", ": script.rules[0]"),
        ("nodes: [", ": not YAML: "),
    ],
)
def test_faults_of_a_nodes_file(shell: Shell, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "nodes.yaml"
    path.write_text(text)
    assert f"error: {path}{said}" in shell.refused(*start("--nodes", str(path)))


def test_a_nodes_file_that_is_not_there(shell: Shell) -> None:
    assert "does not exist" in shell(*start("--nodes", "/no/such/file"), code=2).err


@needs_root
def test_a_home_that_is_not_writable() -> None:
    with open_directory() as home:
        _refuses_others(Shell(home))


def _refuses_others(shell: Shell) -> None:
    nobody = Shell(shell.home, prefix=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
    said = nobody.refused(*start())
    assert f"error: cannot create {shell.directory()}: Permission denied. Make its parent writable" in said
    shell.start()
    shell("cluster", "stop")
    for command in (["start"], ["status"], ["stop"], ["nodes"], ["kubeconfig"], ["reset", "--yes"]):
        ran = subprocess.run(
            nobody.command("cluster", *command),
            check=False,
            env=nobody.environment(),
            capture_output=True,
            text=True,
            cwd="/",
        )
        assert "Traceback" not in ran.stderr, (command, ran.stderr)
        assert ran.stderr.count("\n") <= 1, (command, ran.stderr)


def test_a_home_that_is_a_file(shell: Shell) -> None:
    (shell.home / "podbay").write_text("not a directory")
    assert "set PODBAY_HOME to a directory" in shell.refused(*start())
    assert "error: " in shell("cluster", "status", code=1).err


def test_state_of_a_newer_version(shell: Shell) -> None:
    shell.start()
    shell("cluster", "stop")
    state = shell.directory() / "state.db"
    with sqlite3.connect(state) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        database.execute(f"PRAGMA user_version = {version + 1}")
    database.close()
    before = state.read_bytes()
    said = shell.refused(*start())
    assert "newer" in said
    assert str(state) in said
    assert state.read_bytes() == before


@pytest.mark.parametrize("damage", ["garbage", "cut", "zeros"])
def test_damaged_state(shell: Shell, damage: str) -> None:
    shell.start()
    with shell.api() as api:
        for n in range(50):
            body = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": f"n-{n}"},
                "data": {"x": "y" * 2000},
            }
            api.call("POST", CONFIG_MAPS, body)
    shell("cluster", "stop")
    state = shell.directory() / "state.db"
    size = state.stat().st_size
    with state.open("r+b") as file:
        if damage == "garbage":
            file.write(b"this is not a database")
        elif damage == "cut":
            file.truncate(size // 2)
        else:
            file.seek(4096)
            file.write(bytes(size - 4096))
    said = shell.refused(*start())
    assert str(state) in said
    assert "reset" in said


def test_a_damaged_certificate_is_made_anew(shell: Shell) -> None:
    shell.start()
    shell("cluster", "stop")
    before = shell.kubeconfig().read_text()
    (shell.directory() / "pki" / "ca.crt").write_text("nonsense")
    shell.start()
    assert shell.kubeconfig().read_text() != before
    with shell.api() as api:
        assert api.call("GET", "/readyz") == (200, "ok")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    where = tmp_path / "small"
    where.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(where)], check=False)
    if done.returncode != 0:
        pytest.skip("this machine does not let tests mount a file system")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


@needs_root
@pytest.mark.root
def test_a_full_disk(shell: Shell, small_disk: Path) -> None:
    """Writes are refused while it is full, reads go on, and everything works again when there is room."""
    full = Shell(shell.home, extra={"PODBAY_HOME": str(small_disk)})
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    said = full.refused(*start())
    assert "No space left on device" in said or "disk is full" in said
    filler.unlink()
    full(*start())
    try:
        _fill_and_recover(small_disk)
    finally:
        full("cluster", "stop")


def _fill_and_recover(disk: Path) -> None:
    from podbay.testing.requests import Requests

    filler = disk / "filler"
    with Requests(disk / "clusters" / "podbay" / "kubeconfig") as api:
        refused = None
        for n in range(400):
            body = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": f"n-{n}"},
                "data": {"x": "y" * 100_000},
            }
            code, answer = api.call("POST", CONFIG_MAPS, body)
            if code != 201:
                refused = (code, answer)
                break
        assert refused is not None
        assert refused[1]["kind"] == "Status"
        assert "disk" in refused[1]["message"] or "space" in refused[1]["message"], refused
        code, listed = api.call("GET", CONFIG_MAPS + "?limit=5")
        assert (code, len(listed["items"])) == (200, 5)
        for n in range(10):
            api.call("DELETE", f"{CONFIG_MAPS}/n-{n}")
        assert not filler.exists()
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        until(lambda: api.call("POST", CONFIG_MAPS, {"metadata": {"name": "after"}})[0] in (201, 409))


def test_an_answer_that_never_comes(shell: Shell) -> None:
    """status and nodes say so when the server hangs."""
    shell.start()
    pid = shell.process()
    os.kill(pid, signal.SIGSTOP)
    try:
        (facts,) = shell("cluster", "status", "-o", "json").json()
        assert facts["state"] == "not answering"
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_lost_process_record(shell: Shell) -> None:
    shell.start()
    pid = shell.process()
    record = (shell.directory() / "process.json").read_bytes()
    (shell.directory() / "process.json").write_text("{")
    assert "has not said its process id yet" in shell.refused("cluster", "stop")
    shell("cluster", "status")
    (shell.directory() / "process.json").write_bytes(record)
    shell("cluster", "stop")
    _wait_for_the_end(pid)


def test_a_directory_that_vanishes(shell: Shell) -> None:
    """Somebody removes the files of a running cluster: the next start makes a new one."""
    shell.start()
    pid = shell.process()
    shutil.rmtree(shell.directory())
    shell("cluster", "status")
    os.kill(pid, signal.SIGTERM)
    _wait_for_the_end(pid)
    shell.start()


def _wait_for_the_end(pid: int) -> None:
    until(lambda: not alive(pid))
