"""Being root of a user namespace, so that an ordinary user can run containers.

A process with threads cannot move into a user namespace, so the command line is run again inside one. A holder process
keeps user and mount namespace alive between runs; without it a restarted cluster could not reach its containers' mounts.
The network namespace stays the machine's: what listens on loopback is reached as usual, and pods have loopback only.
Sources: user_namespaces(7), unshare(1), nsenter(1), newuidmap(1).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from podbay.errors import RuntimeUnavailableError
from podbay.node.runc import layout as records
from podbay.node.runc.process import is_running, send, start_ticks

__all__ = ["command_as_root", "end_holder"]

_HOLDER = "holder.json"
_START_SECONDS = 5.0


def command_as_root(base: Path, command: Sequence[str]) -> list[str]:
    """The command line that runs command as root of the state directory's user namespace; made if need be.

    RuntimeUnavailableError where the machine does not let ordinary users have one. Blocks.
    """
    pid = _running_holder(base) or _start_holder(base)
    nsenter = shutil.which("nsenter") or "nsenter"
    return [
        nsenter,
        f"--target={pid}",
        "--user",
        "--mount",
        "--preserve-credentials",
        "--wd=.",
        "--",
        *command,
    ]


def end_holder(base: Path) -> None:
    """Let the namespaces go once nothing runs in them."""
    record = records.read_record(base / _HOLDER)
    if record is not None:
        send(record["pid"], record["ticks"], signal.SIGKILL)
        (base / _HOLDER).unlink(missing_ok=True)


def _running_holder(base: Path) -> int | None:
    record = records.read_record(base / _HOLDER)
    if record is not None and is_running(record["pid"], record["ticks"]):
        return int(record["pid"])
    return None


def _start_holder(base: Path) -> int:
    unshare = shutil.which("unshare")
    if unshare is None or shutil.which("nsenter") is None:
        raise RuntimeUnavailableError("unshare and nsenter not found: install the package util-linux")
    # Several user ids need the helpers of the package uidmap; without them there is one.
    several = [["--map-auto"]] if shutil.which("newuidmap") and shutil.which("newgidmap") else []
    base.mkdir(parents=True, exist_ok=True)
    complaints = base / "holder.log"
    for options in (*several, []):
        command = [unshare, "--user", "--mount", "--propagation=private", *options, "--map-root-user"]
        pid = _spawn([*command, "sleep", "infinity"], complaints)
        ticks = _await_namespace(pid)
        if ticks is not None:
            records.write_record(base / _HOLDER, {"pid": pid, "ticks": ticks})
            return pid
    problem = complaints.read_text(errors="replace").strip()
    raise RuntimeUnavailableError(
        f"containers need root here, for the kernel refuses user namespaces to ordinary users ({problem}): start the "
        "cluster with sudo, or install Docker or Podman and use its engine"
    )


def _spawn(command: Sequence[str], complaints: Path) -> int:
    """Start a process that is nobody's child, so that nobody needs to wait for it."""
    script = 'exec 2>"$1"; shift; "$@" >/dev/null & echo $!'
    shell = ["sh", "-c", script, "sh", str(complaints), *command]
    done = subprocess.run(
        shell,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,
        cwd="/",
    )
    return int(done.stdout)


def _await_namespace(pid: int) -> int | None:
    """The start time of the process once it has become `sleep`, which it does when its namespaces are ready."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        ticks = start_ticks(pid)
        if ticks is None:
            return None
        try:
            if not os.readlink(f"/proc/{pid}/exe").endswith(("/unshare", "/sh", "/dash", "/bash")):  # noqa: PTH115
                return ticks
        except OSError:
            # While its ids are being mapped it belongs to nobody we are.
            pass
        time.sleep(0.005)
    return None
