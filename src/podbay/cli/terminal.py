"""This program's terminal, or what stands in its place, joined to an attached container."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import termios
import threading
import tty
from collections.abc import AsyncIterator, Iterator

from podbay.aio.race import race
from podbay.errors import UnreachableError
from podbay.kube.attachment import Attachment

__all__ = ["is_terminal", "join"]

_CHUNK = 32 << 10


def is_terminal() -> bool:
    """Somebody types here and sees what is answered."""
    return sys.stdin.isatty() and sys.stdout.isatty()


async def join(attachment: Attachment, *, tty: bool) -> None:
    """Until the container's output ends. Raises ApiError, UnreachableError."""
    with _raw() if tty else contextlib.nullcontext():
        # The container waits for a line before it begins, see pods/shell.py.
        await attachment.write(b"\n")
        await race(_show(attachment), _type(attachment), *([_fit(attachment)] if tty else []))


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    """Every key goes to the container, also Ctrl-C."""
    before = termios.tcgetattr(0)
    try:
        tty.setraw(0)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


async def _show(attachment: Attachment) -> bool:
    async for stream, data in attachment.output():
        file = sys.stdout if stream == "stdout" else sys.stderr
        file.buffer.write(data)
        file.buffer.flush()
    return True


async def _type(attachment: Attachment) -> None:
    # Where the session has ended or broken, the output tells.
    with contextlib.suppress(UnreachableError):
        async for data in _input():
            await attachment.write(data)
        await attachment.close_input()
    await asyncio.Event().wait()


async def _input() -> AsyncIterator[bytes]:
    """Read in a thread, because a file cannot be waited for; it ends with the process."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes] = asyncio.Queue()
    turn = threading.Semaphore(8)

    def read() -> None:
        while turn.acquire():
            try:
                data = os.read(0, _CHUNK)
            except OSError:
                data = b""
            # The loop may be over before this thread is.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(queue.put_nowait, data)
            if not data:
                return

    threading.Thread(target=read, name="input", daemon=True).start()
    while data := await queue.get():
        turn.release()
        yield data


async def _fit(attachment: Attachment) -> None:
    """The terminal's size, now and whenever it changes."""
    changed = asyncio.Event()
    changed.set()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGWINCH, changed.set)
    try:
        while await changed.wait():
            changed.clear()
            size = shutil.get_terminal_size()
            await attachment.resize(size.columns, size.lines)
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)
