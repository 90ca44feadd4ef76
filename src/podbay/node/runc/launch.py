"""Starting a bundle: conmon stays with the container, runc makes it. Also: what they leave behind on disk, read back.

Blocks. conmon's interface: its man page and src/conmon.c (containers/conmon); the order of files is in layout.py.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from podbay.errors import RuntimeUnavailableError, StartError
from podbay.node.runc.layout import ContainerFiles, Layout
from podbay.node.runc.process import has_executed, start_ticks

__all__ = ["Launched", "Launcher", "Programs", "find_programs", "runtime_message"]

_CONMON_PRIORITY = -10
_CREATE_SECONDS = 60.0
"""runc makes a container in milliseconds; longer means a machine that is stuck."""
_PREFIX = "failed to create containerd task: failed to create shim task: OCI runtime create failed: "
"""What containerd, the runtime of most real nodes, puts before runc's words."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Programs:
    """Where the two programs are."""

    runc: str
    conmon: str
    version: str
    seccomp: bool


@dataclass(frozen=True, slots=True)
class Launched:
    """A container's first process."""

    pid: int
    ticks: int


def find_programs() -> Programs:
    """RuntimeUnavailableError names the packages to install."""
    search = f"{os.environ.get('PATH', '')}:{_PATH}"
    runc, conmon = shutil.which("runc", path=search), shutil.which("conmon", path=search)
    missing = [name for name, path in (("runc", runc), ("conmon", conmon)) if path is None]
    if runc is None or conmon is None:
        raise RuntimeUnavailableError(
            f"{' and '.join(missing)} not found: install with `apt-get install {' '.join(missing)}` (Debian, Ubuntu) "
            f"or `dnf install {' '.join(missing)}` (Fedora)"
        )
    done = subprocess.run([runc, "--version"], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise RuntimeUnavailableError(f"{runc} does not work: {done.stderr.strip() or done.returncode}")
    return Programs(runc, conmon, lines[0].removeprefix("runc version "), "libseccomp:" in done.stdout)


class Launcher:
    """Starts bundles of one state directory."""

    def __init__(self, programs: Programs, layout: Layout) -> None:
        self._programs = programs
        self._layout = layout

    def runc(self, files: ContainerFiles, *arguments: str) -> list[str]:
        """A runc command line for a container of ours; its complaints go to the container's runtime log."""
        return [
            self._programs.runc,
            f"--root={self._layout.runc}",
            f"--log={files.runtime_log}",
            "--log-format=json",
            *arguments,
        ]

    def create(self, identity: str, files: ContainerFiles, options: Sequence[str]) -> Launched:
        """Make the container's first process; it waits to be let go by `release`. StartError with runc's words."""
        for left in (files.runtime_log, files.pid, files.conmon_pid):
            left.unlink(missing_ok=True)
        reader, writer = os.pipe()
        try:
            subprocess.run(
                self._conmon(identity, files, options),
                cwd=files.path,  # conmon leaves its mark of an out-of-memory kill in its working directory
                env={"PATH": _PATH, "_OCI_SYNCPIPE": str(writer)},
                pass_fds=(writer,),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=True,
            )
        except (OSError, subprocess.CalledProcessError) as error:
            os.close(reader)
            raise StartError("StartError", f"failed to start conmon: {error}") from error
        finally:
            os.close(writer)
        try:
            pid = self._read_pid(reader, files)
        finally:
            os.close(reader)
        self._prefer_conmon(files)
        # A process that was killed in the meantime leaves an exit file; no ticks then.
        return Launched(pid, start_ticks(pid) or 0)

    def _conmon(self, identity: str, files: ContainerFiles, options: Sequence[str]) -> list[str]:
        runtime_arguments = self.runc(files)[1:]
        return [
            self._programs.conmon,
            "--api-version=1",
            f"--cid={identity}",
            f"--cuuid={identity}",
            f"--name={identity[:12]}",
            f"--runtime={self._programs.runc}",
            *(f"--runtime-arg={argument}" for argument in runtime_arguments),
            f"--bundle={files.path}",
            f"--container-pidfile={files.pid}",
            f"--conmon-pidfile={files.conmon_pid}",
            f"--log-path=k8s-file:{files.log}",
            "--log-level=error",
            f"--exit-dir={self._layout.exits}",
            "--full-attach",
            "--no-sync-log",
            *options,
        ]

    def _prefer_conmon(self, files: ContainerFiles) -> None:
        """Let conmon run as soon as there is something to log: two streams keep their order only if it is not late."""
        process = self._conmon_process(files)
        if process is None:
            return
        try:
            os.setpriority(os.PRIO_PROCESS, process, _CONMON_PRIORITY)
        except (PermissionError, ProcessLookupError):
            pass

    def _read_pid(self, reader: int, files: ContainerFiles) -> int:
        data = b""
        deadline = time.monotonic() + _CREATE_SECONDS
        while not data.endswith(b"\n"):
            if not select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise StartError(
                    "StartError", _PREFIX + f"no answer from runc within {_CREATE_SECONDS:.0f} s"
                )
            chunk = os.read(reader, 65536)
            if not chunk:
                break
            data += chunk
        try:
            answer = orjson.loads(data)
            pid = int(answer.get("pid", answer.get("data", -1)))
        except (orjson.JSONDecodeError, AttributeError, ValueError, TypeError):
            answer, pid = {}, -1
        if pid > 0:
            return pid
        message = runtime_message(files) or str(answer.get("message") or "").strip() or "runc left no message"
        raise StartError("StartError", _PREFIX + message)

    def release(self, identity: str, files: ContainerFiles, launched: Launched) -> None:
        """Let the first process execute its command. StartError."""
        fifo = self._layout.runc / identity / "exec.fifo"
        try:
            descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            self._release_by_runc(identity, files)
            return
        # What `runc start` does, without starting a process for it: the waiting one writes a byte once we read.
        try:
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            while not poller.poll(100):
                # It has ended; or it was let go by a node that was killed before it could say so, and writes no more.
                if start_ticks(launched.pid) != launched.ticks or has_executed(launched.pid):
                    break
        finally:
            os.close(descriptor)
        fifo.unlink(missing_ok=True)

    def _release_by_runc(self, identity: str, files: ContainerFiles) -> None:
        done = subprocess.run(
            self.runc(files, "start", identity), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise StartError("StartError", _PREFIX + (runtime_message(files) or done.stderr.strip()))

    def waits_for_release(self, identity: str) -> bool:
        """Whether its first process was made and not let go yet."""
        return (self._layout.runc / identity / "exec.fifo").exists()

    def read_process(self, files: ContainerFiles) -> Launched | None:
        """The first process as conmon noted it, if that process runs. A reused id is told apart by its parent."""
        try:
            pid = int(files.pid.read_text())
        except (OSError, ValueError):
            return None
        ticks = start_ticks(pid)
        if ticks is None or not self.has_conmon(files):
            return None
        return Launched(pid, ticks)

    def has_conmon(self, files: ContainerFiles) -> bool:
        """Whether the container's conmon runs."""
        return self._conmon_process(files) is not None

    def end_conmon(self, files: ContainerFiles, seconds: float) -> None:
        """Wait for conmon to finish its work, then end it."""
        process = self._conmon_process(files)
        deadline = time.monotonic() + seconds
        while process is not None and time.monotonic() < deadline:
            time.sleep(0.002)
            process = self._conmon_process(files)
        if process is not None:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def _conmon_process(self, files: ContainerFiles) -> int | None:
        try:
            pid = int(files.conmon_pid.read_text())
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if f"--bundle={files.path}".encode() in line else None


def runtime_message(files: ContainerFiles) -> str:
    """The last error runc wrote to its log."""
    try:
        lines = files.runtime_log.read_bytes().splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        try:
            entry = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(entry, dict) and entry.get("level") in ("error", "fatal"):
            return str(entry.get("msg") or "")
    return ""
