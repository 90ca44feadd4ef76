"""A cluster as a background process: how it is started, found again and stopped.

The child runs `python -m podbay.embedded.serve`, reports on a pipe that it is ready (or why not) and lives until
SIGTERM. Whoever asks about it later goes by the lock that it holds, never by a bare pid. This side imports nothing of
the server, so that the command line answers fast.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from podbay.embedded.home import ClusterHome
from podbay.errors import StateError

__all__ = ["READY_FD", "start_background", "stop", "to_arguments"]

START_SECONDS = 60.0
"""How long a starting server may take before it is given up; a cold start needs about one."""
STOP_SECONDS = 30.0
"""How long a stopping server may take to end its pods' processes before it is killed."""
READY_FD = "PODBAY_READY_FD"
"""Environment variable that tells the child where to report."""
_LOG_TAIL = 2000


def to_arguments(
    *,
    host: str,
    port: int,
    nodes: Path | None,
    runtime: str,
    providers: tuple[Path, Path] | None = None,
    token_webhook: Path | None = None,
) -> list[str]:
    """Words that parse_arguments turns into the same options; providers: the file that declares them, their directory."""
    words = ["--host", host, "--port", str(port), "--runtime", runtime]
    if nodes is not None:
        words += ["--nodes", str(nodes.absolute())]
    if token_webhook is not None:
        words += ["--authentication-token-webhook-config-file", str(token_webhook.absolute())]
    if providers is not None:
        config, directory = providers
        words += ["--image-credential-provider-config", str(config.absolute())]
        words += ["--image-credential-provider-bin-dir", str(directory.absolute())]
    return words


def start_background(home: ClusterHome, arguments: Sequence[str]) -> dict[str, Any]:
    """Start a server that outlives this process; returns what it recorded once it is ready.

    Raises the child's own PodbayError text as StateError when it cannot start.
    """
    # Taking the lock for a moment gives the clear message before a process is spent on it.
    home.lock().close()
    read_end, write_end = os.pipe()
    environment = {**os.environ, READY_FD: str(write_end)}
    command = [sys.executable, "-m", "podbay.embedded.serve", "--name", home.name, *arguments]
    child: subprocess.Popen[bytes] | None = None
    with os.fdopen(read_end, "rb") as ready, home.log.open("ab") as log:
        try:
            try:
                with _interrupts_held():
                    child = subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        env=environment,
                        pass_fds=(write_end,),
                        start_new_session=True,
                        cwd="/",
                    )
            finally:
                os.close(write_end)
            os.set_blocking(read_end, False)
            report = _read_report(ready.fileno(), child)
        except BaseException:
            # Ctrl-C while it starts: what nobody waits for any more must not stay behind.
            if child is not None:
                child.terminate()
            raise
    if report is None:
        tail = home.log.read_text(errors="replace")[-_LOG_TAIL:].strip()
        raise StateError(
            f"cluster {home.name!r} did not start. The end of its log {home.log}:\n{tail or '(empty)'}"
        )
    if "error" in report:
        child.wait(timeout=STOP_SECONDS)
        raise StateError(str(report["error"]))
    return report


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let Ctrl-C wait: an interrupt inside Popen would leave a child of which nobody knows."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _read_report(descriptor: int, child: subprocess.Popen[bytes]) -> dict[str, Any] | None:
    """One line of JSON from the child, or None when it ended or stayed silent."""
    data = b""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            chunk = os.read(descriptor, 65536)
        except BlockingIOError:
            time.sleep(0.01)
            continue
        data += chunk
        if data.endswith(b"\n"):
            return orjson.loads(data)  # type: ignore[no-any-return]
        if not chunk:
            return None
    child.terminate()
    return None


def stop(home: ClusterHome) -> bool:
    """Stop the running server; False when there is none. Raises StateError when it will not end."""
    if not home.is_running():
        return False
    pid = home.read_process().get("pid")
    if not isinstance(pid, int):
        raise StateError(
            f"cluster {home.name!r} is running but has not said its process id yet; try again in a moment"
        )
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not home.is_running():
                home.forget_process()
                return True
            time.sleep(0.02)
    raise StateError(f"cluster {home.name!r} (process {pid}) does not end; its log is {home.log}")
