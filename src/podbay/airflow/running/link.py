"""The host as its starter sees it: a child process, events out of it, a few words into it.

Events, each with its facts: imported · need (a component) · dag (dag_id, tasks) · pool (name, slots: made because the DAG
names it) · run (run_id) · tasks (those whose state changed) · ended (state) · refused (message: the user can mend it) ·
started, died (component, code, loops, said) · driver-ended · unprepared (said: the database) · stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import orjson

from podbay.airflow.running.home import AirflowHome

__all__ = ["Event", "HostLink", "start_host"]

Event: TypeAlias = dict[str, Any]
_STOP_SECONDS = 30.0
"""The host bounds each step of its own end; this is for one that hangs."""
_LINE_LIMIT = 64 * 1024 * 1024


class HostLink:
    """A running host."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def events(self) -> AsyncIterator[Event]:
        """What happens, until the host is gone."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            yield orjson.loads(line)

    async def say(self, what: str) -> None:
        """ "go", "stop" or "kill"; a host that is gone hears nothing."""
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(orjson.dumps({"do": what}) + b"\n")
            await self._process.stdin.drain()

    def terminate(self) -> None:
        """For a host that may still be importing, and hears nothing; one that lives stops as if told to."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    async def ended(self) -> None:
        """Wait until the host and all its processes are gone; kill it when it does not end."""
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()


@asynccontextmanager
async def start_host(
    home: AirflowHome, order: Mapping[str, Any], env: Mapping[str, str]
) -> AsyncIterator[HostLink]:
    """A host that has its order; it is told to stop, and is gone, after the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "podbay.airflow.running.host",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=home.log("host").open("ab"),
        env=dict(env),
        cwd=home.directory,
        # Ctrl-C in a terminal is for the command, which then says how to stop.
        start_new_session=True,
        limit=_LINE_LIMIT,
    )
    assert process.stdin is not None
    process.stdin.write(orjson.dumps(dict(order)) + b"\n")
    link = HostLink(process)
    try:
        yield link
    finally:
        process.stdin.close()
        await link.ended()
