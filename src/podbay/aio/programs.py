"""Asks a program something: input on stdin, its answer on stdout, an end in time whatever it does.

For credential plugins, providers and helpers, which people write as shell scripts: the program gets a session of its own,
because `sh -c python …` leaves a child behind when only the shell is killed, and what it prints is bounded.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

__all__ = ["OUTPUT_LIMIT", "ProgramEnd", "ask_program"]

OUTPUT_LIMIT: Final = 1 << 20
"""Bytes kept of each of stdout and stderr, the last ones; tokens have a few kilobytes."""


class ProgramEnd(NamedTuple):
    """How it ended. exit_code is negative for a signal."""

    exit_code: int
    stdout: bytes
    stderr: bytes


async def ask_program(
    words: Sequence[str], *, env: Mapping[str, str], seconds: float, asked: bytes | None = None
) -> ProgramEnd:
    """Run it to its end; asked None closes its stdin at once.

    Raises OSError when it cannot be started and TimeoutError when it gave no answer; then, and when the caller is
    cancelled, it has been killed together with its children.
    """
    process = await asyncio.create_subprocess_exec(
        *words,
        env=dict(env),
        stdin=asyncio.subprocess.DEVNULL if asked is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    whole = False
    try:
        async with asyncio.timeout(seconds):
            stdout, stderr, _ = await asyncio.gather(
                _drain(process.stdout), _drain(process.stderr), _feed(process.stdin, asked)
            )
            exit_code = await process.wait()
        whole = True
        return ProgramEnd(exit_code, stdout, stderr)
    finally:
        if not whole:
            await _end(process)


async def _feed(stream: asyncio.StreamWriter | None, data: bytes | None) -> None:
    if stream is None:
        return
    try:
        stream.write(data or b"")
        await stream.drain()
        stream.close()
        await stream.wait_closed()
    except (BrokenPipeError, ConnectionResetError):
        # It did not want to hear all of it; what it says counts.
        pass


async def _drain(stream: asyncio.StreamReader | None) -> bytes:
    """All of a pipe, of which the last part is kept when it is too much."""
    assert stream is not None
    kept = b""
    while chunk := await stream.read(1 << 16):
        kept = (kept + chunk)[-OUTPUT_LIMIT:]
    return kept


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill the program and its children (a shell may be gone while its child holds the pipes), and reap it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    await process.wait()
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(1.0):
            # Read to their end, or the pipes stay open; a child that left the session may hold them longer.
            await asyncio.gather(_drain(process.stdout), _drain(process.stderr))
    except TimeoutError:
        pass
