"""The runc runtime as an ordinary user: what works, and that it is found again by a second process."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import site
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from places import open_directory

import podbay
from podbay.node.runc.rootless import end_holder

SCRIPT = Path(__file__).with_name("rootless_run.py")
USER = "nobody"


def _interpreter() -> str | None:
    """A Python that any user may run, of the version that the libraries were installed for."""
    for path in (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"):
        if Path(path).exists() and _as_user(["sh", "-c", f"exec {path} -c ''"]).returncode == 0:
            return path
    return None


def _as_user(command: list[str]) -> subprocess.CompletedProcess[str]:
    account = pwd.getpwnam(USER)
    libraries = [str(Path(podbay.__file__).parents[1]), *site.getsitepackages()]
    return subprocess.run(
        command,
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": ":".join(libraries),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": "/",
        },
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of the user's own."""
    account = pwd.getpwnam(USER)
    with open_directory() as path:
        os.chown(path, account.pw_uid, account.pw_gid)
        yield path
        end_holder(path / "state")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="starts processes as another user")
def test_an_ordinary_user(place: Path, archive: Path) -> None:
    interpreter = _interpreter()
    if interpreter is None or not all(map(shutil.which, ("runc", "conmon", "unshare", "nsenter"))):
        pytest.skip("needs runc, conmon, util-linux and a Python that others may run")
    shutil.copy(archive, place / "bb.tar")
    (place / "bb.tar").chmod(0o644)
    archive = place / "bb.tar"

    def step(name: str) -> dict[str, Any]:
        done = _as_user([interpreter, str(SCRIPT), str(place / "state"), str(archive), name])
        if "refuses user namespaces" in done.stderr:
            pytest.skip("no user namespaces for ordinary users here")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    first = step("first")
    assert first["limits"] is False
    assert any("limits are not enforced" in note for note in first["notes"])
    assert first["output"] == [3, "0\n/x\nlo\n"]
    assert "eth0" in first["host"][1] or len(first["host"][1].split()) > 1
    assert "/pause" in first["shared"][1]
    assert first["exec"].startswith("pod-")
    if first["users"]:
        assert first["user"] == [0, "1000\n"]
    else:
        assert "cannot run as user 1000" in first["user"]
        assert any("all containers run as one user" in note for note in first["notes"])

    second = step("second")
    assert second["running"] == [first["long"]]
    assert all(second["ready"])
    assert second["volume"] == "still\n"
    left = subprocess.run(
        ["pgrep", "-u", USER, "-f", str(place)], capture_output=True, text=True, check=False
    ).stdout
    assert left == ""
