"""`podbay shell` on a cluster with real containers: beside one that runs, in a copy of one that has ended, on a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from images import busybox
from patience import PATIENCE, until
from podbay_shell import Shell

from podbay.embedded.containers import runtime_available

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not runtime_available(), reason="no container runtime here"),
]
IMAGE = "localhost/bb:1"
PODS = "/api/v1/namespaces/default/pods"


def body(name: str, script: str) -> dict[str, Any]:
    mounts = [{"name": "data", "mountPath": "/data"}]
    prepare = {"name": "prepare", "image": IMAGE, "command": ["sh", "-c", "echo prepared > /data/file"]}
    base = {"name": "base", "image": IMAGE, "command": ["sh", "-c", script], "volumeMounts": mounts}
    return {
        "metadata": {"name": name, "labels": {"podbay.dev/deployment": "shells"}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "volumes": [{"name": "data", "emptyDir": {}}],
            "initContainers": [{**prepare, "volumeMounts": mounts}],
            "containers": [{**base, "env": [{"name": "WHO", "value": "the task"}]}],
        },
    }


@pytest.fixture(scope="module")
def podbay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A cluster with a pod that runs and one that has failed."""
    home = tmp_path_factory.mktemp("shells")
    made = Shell(home)
    archive: Path = busybox().archive(home / "bb.tar", IMAGE)
    try:
        made("cluster", "start")
        made("cluster", "load", str(archive))
        with made.api() as api:
            for name, script in (("long", "sleep 1000"), ("failed", "exit 3")):
                code, answer = api.call("POST", PODS, body(name, script))
                assert code == 201, answer
        until(lambda: phase(made, "long") == "Running", tell=lambda: pod(made, "long"))
        until(lambda: phase(made, "failed") == "Failed", tell=lambda: pod(made, "failed"))
        yield made
    finally:
        made("cluster", "reset", "--yes")


def pod(shell: Shell, name: str) -> dict[str, Any]:
    with shell.api() as api:
        code, answer = api.call("GET", f"{PODS}/{name}")
    assert code == 200, answer
    found: dict[str, Any] = answer
    return found


def phase(shell: Shell, name: str) -> str:
    return str(pod(shell, name).get("status", {}).get("phase"))


def copies(shell: Shell) -> list[str]:
    with shell.api() as api:
        items = api.call("GET", f"{PODS}?labelSelector=podbay.dev/shell-of")[1]["items"]
    return [each["metadata"]["name"] for each in items]


def test_beside_a_container_that_runs(podbay: Shell) -> None:
    ran = podbay("shell", "long", "--", "sh", "-c", 'echo "$WHO"; cat /data/file; ps; exit 7', code=7)
    assert ran.out.startswith("the task\nprepared\n")
    # It sees the processes of the one that it is beside of.
    assert "sleep 1000" in ran.out
    assert "podbay.dev/held-until" not in pod(podbay, "long")["metadata"].get("annotations", {})
    assert phase(podbay, "long") == "Running"


def test_a_copy_of_one_that_has_ended(podbay: Shell) -> None:
    ran = podbay("shell", "failed", stdin='echo "$WHO"; cat /data/file; hostname; exit 4\n', code=4)
    lines = ran.out.splitlines()
    assert lines[:2] == ["the task", "prepared"]
    assert lines[2].startswith("failed-shell-")
    until(lambda: not copies(podbay), tell=lambda: copies(podbay))
    assert phase(podbay, "failed") == "Failed"


@pytest.mark.parametrize("name", ["long", "failed"])
def test_its_time_is_over(podbay: Shell, name: str) -> None:
    assert "time was over after 3 s" in podbay.refused("shell", name, "--for", "3s", "--", "sleep", "500")
    until(lambda: not copies(podbay), tell=lambda: copies(podbay))
    assert phase(podbay, "long") == "Running"


def test_what_cannot_be_opened(podbay: Shell) -> None:
    assert "no pod 'absent'" in podbay.refused("shell", "absent")
    assert "no container 'other'" in podbay.refused("shell", "long", "-c", "other")
    assert "--for 9d" in podbay.refused("shell", "long", "--for", "9d")
    until(lambda: not copies(podbay), tell=lambda: copies(podbay))


def test_a_terminal(podbay: Shell) -> None:
    with _typed(podbay, "shell", "failed") as (master, process):
        _read(master, b"# ")
        os.write(master, b"stty -echo; stty size; tty; echo $((40+2))-is\n")
        shown = _read(master, b"42-is")
        assert b"33 111" in shown
        assert b"/dev/pts" in shown or b"/dev/console" in shown
        # Ctrl-C is the program's in the container, not ours.
        # Said by what is to hear it: a shell that is between two commands would keep it to itself.
        os.write(master, b"sh -c 'echo now-$((3*3)); exec sleep 500'\n")
        _read(master, b"now-9")
        os.write(master, b"\x03")
        _read(master, b"# ")
        os.write(master, b"echo still-$((1+1))\n")
        _read(master, b"still-2")
        os.write(master, b"exit 5\n")
        with contextlib.suppress(OSError):
            while os.read(master, 1 << 16):
                pass
        assert process.wait(timeout=60) == 5
    until(lambda: not copies(podbay), tell=lambda: copies(podbay))


@contextlib.contextmanager
def _typed(shell: Shell, *words: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The program on a terminal of its own."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 111, 0, 0))
    environment = {**shell.environment(), "TERM": "dumb"}
    command = shell.command(*words)
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd="/")
    os.close(slave)
    try:
        yield master, process
    finally:
        process.kill()
        process.wait()
        os.close(master)


def _read(master: int, wanted: bytes) -> bytes:
    """What is shown until `wanted` is; the end of the program ends it as well."""
    shown = b""
    while wanted not in shown:
        assert select.select([master], [], [], PATIENCE)[0], shown
        shown += os.read(master, 1 << 16)
    return shown
