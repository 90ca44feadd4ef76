"""Commands run in a container: a `runc exec` process on pipes or behind a terminal.

Sources: runc-exec(8), tty_ioctl(4).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import struct
import subprocess
import tempfile
import termios
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from podbay.errors import StartError
from podbay.node.runc.launch import Launcher, runtime_message
from podbay.node.runc.layout import ContainerFiles
from podbay.node.runc.pipes import PipeReader, Stream, write_all
from podbay.node.runc.process import start_ticks
from podbay.node.specs import ExecSpec

__all__ = ["ExecProcess", "RuncExecSession", "abandon", "set_window", "start_exec"]

_START_SECONDS = 30.0
_PREFIX = "failed to exec in container: failed to start exec: OCI runtime exec failed: "
"""containerd's words before runc's, without the id that is new each time."""


@dataclass(frozen=True, slots=True)
class ExecProcess:
    """A started command: the runc process, our ends of its streams (-1: none), the command's own process."""

    runc: subprocess.Popen[bytes]
    pidfd: int
    """Readable once runc has ended."""
    stdin: int
    stdout: int
    stderr: int
    terminal: int
    pid: int


@dataclass(slots=True)
class _Ends:
    ours: list[int]
    theirs: list[int]

    def close(self, descriptors: list[int]) -> None:
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)
        descriptors.clear()


def start_exec(launcher: Launcher, identity: str, files: ContainerFiles, spec: ExecSpec) -> ExecProcess:
    """Start a command and wait until it runs. StartError with runc's words. Blocks."""
    if not spec.command:
        raise StartError("ExecError", _PREFIX + "exec failed: no command specified")
    with tempfile.TemporaryDirectory(dir=files.path, prefix="exec-") as scratch:
        own = ContainerFiles(Path(scratch))
        ends = _Ends([], [])
        try:
            descriptors = _terminal(ends) if spec.tty else _pipes(ends, spec)
            options = ["--tty"] if spec.tty else []
            command = launcher.runc(own, "exec", *options, f"--pid-file={own.pid}", identity, *spec.command)
            runc = subprocess.Popen(
                command, stdin=descriptors[0], stdout=descriptors[1], stderr=descriptors[2], cwd="/"
            )
            # Opened before anybody waits for the process, while its id cannot mean another one.
            pidfd = os.pidfd_open(runc.pid)
            ends.close(ends.theirs)
            return _started(runc, pidfd, ends, own, spec)
        except BaseException:
            ends.close(ends.theirs)
            ends.close(ends.ours)
            raise


def _started(
    runc: subprocess.Popen[bytes], pidfd: int, ends: _Ends, own: ContainerFiles, spec: ExecSpec
) -> ExecProcess:
    pid = _await_pid(runc, own)
    if pid is None:
        os.close(pidfd)
        message = runtime_message(own) or f"runc ended with {runc.returncode}"
        raise StartError("ExecError", _PREFIX + message, exit_code=126)
    ours = list(ends.ours)
    if spec.tty:
        return ExecProcess(runc, pidfd, ours[0] if spec.stdin else -1, ours[0], -1, ours[0], pid)
    return ExecProcess(runc, pidfd, ours[0], ours[1], ours[2], -1, pid)


def _await_pid(runc: subprocess.Popen[bytes], own: ContainerFiles) -> int | None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        ended = runc.poll() is not None
        try:
            return int(own.pid.read_text())
        except (FileNotFoundError, ValueError):
            if ended:
                return None
        time.sleep(0.001)
    runc.kill()
    runc.wait()
    return None


def _pipes(ends: _Ends, spec: ExecSpec) -> tuple[int, int, int]:
    theirs: list[int] = []
    for wanted, outgoing in ((spec.stdin, False), (spec.stdout, True), (spec.stderr, True)):
        if not wanted:
            theirs.append(subprocess.DEVNULL)
            ends.ours.append(-1)
            continue
        reader, writer = os.pipe()
        mine, other = (reader, writer) if outgoing else (writer, reader)
        ends.ours.append(mine)
        ends.theirs.append(other)
        theirs.append(other)
    return theirs[0], theirs[1], theirs[2]


def _terminal(ends: _Ends) -> tuple[int, int, int]:
    ours, theirs = os.openpty()
    ends.ours.append(ours)
    ends.theirs.append(theirs)
    return theirs, theirs, theirs


def set_window(terminal: int, width: int, height: int) -> None:
    """Tell a terminal its size in cells."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


class RuncExecSession:
    """A running command, as `ExecSession` of the streams protocol."""

    def __init__(self, process: ExecProcess) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._stdin = process.stdin
        if self._stdin >= 0:
            os.set_blocking(self._stdin, False)
        outputs: dict[int, Stream] = {}
        if process.stdout >= 0:
            outputs[process.stdout] = "stdout"
        if process.stderr >= 0:
            outputs[process.stderr] = "stderr"
        self._reader = PipeReader(outputs)
        self._ended = asyncio.Event()
        self._code = 0
        self._loop.add_reader(process.pidfd, self._note_end)

    def _note_end(self) -> None:
        self._loop.remove_reader(self._process.pidfd)
        os.close(self._process.pidfd)
        code = self._process.runc.wait()
        self._code = code if code >= 0 else 128 - code
        self._ended.set()

    async def write(self, data: bytes) -> None:
        if self._stdin >= 0 and not self._ended.is_set():
            await write_all(self._stdin, data)

    async def close_stdin(self) -> None:
        if self._stdin < 0:
            return
        if self._process.terminal >= 0:
            # What a person at a terminal types to end the input.
            await self.write(b"\x04")
            return
        os.close(self._stdin)
        self._stdin = -1

    async def resize(self, width: int, height: int) -> None:
        if self._process.terminal >= 0 and not self._ended.is_set():
            set_window(self._process.terminal, width, height)
            self._process.runc.send_signal(signal.SIGWINCH)

    def output(self) -> AsyncIterator[tuple[Stream, bytes]]:
        return self._reader.chunks()

    async def wait(self) -> int:
        await self._ended.wait()
        return self._code

    async def aclose(self) -> None:
        if not self._ended.is_set():
            _kill(self._process)
        if self._process.terminal < 0 and self._stdin >= 0:
            os.close(self._stdin)
        self._stdin = -1
        self._reader.close()
        await self._ended.wait()


def abandon(process: ExecProcess) -> None:
    """End a command that nobody waits for any more, and free what was opened for it. Blocks until it is gone."""
    _kill(process)
    for descriptor in {process.stdin, process.stdout, process.stderr, process.terminal} - {-1}:
        os.close(descriptor)
    process.runc.wait()
    os.close(process.pidfd)


def _kill(process: ExecProcess) -> None:
    # Ending runc alone would leave the command behind in the container.
    if start_ticks(process.pid) is not None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
