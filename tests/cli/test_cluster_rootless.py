"""`podbay cluster` for an ordinary user without a container engine: runc in a user namespace of his own."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images
import pytest
from patience import until
from places import open_directory
from podbay_shell import Shell

import podbay

PODS = "/api/v1/namespaces/default/pods"
USER, GROUP = 65534, 65534
PROGRAMS = ("runc", "conmon", "setpriv", "unshare", "nsenter")

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="starts processes as another user"),
    pytest.mark.skipif(not all(map(shutil.which, PROGRAMS)), reason=f"needs {', '.join(PROGRAMS)}"),
]


def as_user(*command: str) -> list[str]:
    return ["setpriv", f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups", *command]


def interpreter() -> str:
    """A Python that any user may run, of the version that the libraries were installed for."""
    for path in (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"):
        # What setpriv itself starts is still looked up with root's rights.
        command = as_user("sh", "-c", f"exec {path} -c ''")
        done = subprocess.run(command, capture_output=True, check=False, cwd="/")
        if done.returncode == 0:
            return path
    pytest.skip("no Python here that other users may run")


@pytest.fixture
def theirs() -> Iterator[Shell]:
    """The program as an ordinary user runs it, with an image archive in his home."""
    libraries = [str(Path(podbay.__file__).parents[1]), *site.getsitepackages()]
    extra = {"PYTHONPATH": ":".join(libraries), "PYTHONDONTWRITEBYTECODE": "1"}
    with open_directory() as home:
        images.busybox().archive(home / "bb.tar", "localhost/bb:1").chmod(0o644)
        os.chown(home, USER, GROUP)
        shell = Shell(home, prefix=as_user(interpreter()), extra=extra)
        yield shell
        if shell.directory().exists():
            shell("cluster", "reset", "--yes")


def started(shell: Shell) -> None:
    command = shell.command("cluster", "start")
    done = subprocess.run(command, env=shell.environment(), capture_output=True, text=True, check=False)
    if "refuses user namespaces" in done.stderr:
        pytest.skip("no user namespaces for ordinary users here")
    assert done.returncode == 0, done.stderr


def pod(name: str, script: str) -> dict[str, Any]:
    container = {"name": "main", "image": "localhost/bb:1", "command": ["sh", "-c", script]}
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def test_from_start_to_reset(theirs: Shell) -> None:
    started(theirs)
    theirs("cluster", "load", str(theirs.home / "bb.tar"))
    with theirs.api() as api:
        for made in (pod("short", "echo over; exit 3"), pod("long", "echo up; exec sleep 1000")):
            assert api.call("POST", PODS, made)[0] == 201
        until(lambda: api.call("GET", f"{PODS}/short")[1]["status"]["phase"] == "Failed")
        assert api.call("GET", f"{PODS}/short/log")[1] == "over\n"
        until(lambda: api.call("GET", f"{PODS}/long/log")[1] == "up\n")
        node = api.call("GET", "/api/v1/nodes/podbay")[1]
        told = {c["type"]: c["message"] for c in node["status"]["conditions"]}
        assert "limits are not enforced" in told["RuntimeLimited"]
    theirs("cluster", "stop")
    started(theirs)
    with theirs.api() as api:
        (status,) = api.call("GET", f"{PODS}/long")[1]["status"]["containerStatuses"]
        assert "running" in status["state"] and status["restartCount"] == 0
    assert len(_processes(theirs.home)) > 1
    theirs("cluster", "reset", "--yes")
    assert not theirs.directory().exists()
    until(lambda: not _processes(theirs.home), tell=lambda: _processes(theirs.home))


def test_what_is_missing_is_said(theirs: Shell) -> None:
    programs = theirs.home / "bin"
    programs.mkdir()
    for name in ("runc", "conmon"):
        (programs / name).symlink_to(shutil.which(name) or name)
    theirs.prefix = [str(shutil.which("setpriv")), *theirs.prefix[1:]]
    theirs.extra["PATH"] = str(programs)
    said = theirs.refused("cluster", "start", "--runtime", "runc")
    assert said == "error: unshare and nsenter not found: install the package util-linux"


def _processes(home: Path) -> list[str]:
    """Command lines of processes that have to do with the home, the user's holder of namespaces included."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        if str(home) in line or f"HOME={home}\0".encode() in environment:
            found.append(line)
    return found
