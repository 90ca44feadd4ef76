"""An exec or attach session between a node and a client, whatever protocol the client speaks.

Ends when the command has ended and its output is through, or when the client has gone. A process that the command left
behind with its output open does not hold the client up: once the command has ended, silence ends the session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal, Protocol

from podbay.aio.race import cancel_all, closing, race
from podbay.apiserver.streams import ExecSession
from podbay.apiserver.wire import command_status
from podbay.errors import ApiError, StartError
from podbay.objects.meta import Object

__all__ = ["CommandStreams", "Outcome", "run_command", "run_session"]

logger = logging.getLogger(__name__)

LINGER_SECONDS = 1.0
"""How long output may be silent after the command has ended before it counts as ended too."""
PING_SECONDS = 20.0
"""How often the client is sent something. Nothing else finds out a client that vanished while we wait for a command
that neither reads nor writes."""

Outcome = Callable[[int], Object]
"""Exit code to the Status that the client is told."""


class CommandStreams(Protocol):
    """The client's side of a session."""

    async def pump_input(self, session: ExecSession) -> None:
        """Hand stdin and resizes on until the client has gone."""
        ...

    async def send(self, stream: Literal["stdout", "stderr"], data: bytes) -> None: ...

    async def ping(self) -> None: ...

    async def finish(self, status: Object) -> None:
        """Tell how it ended, close, and wait until the client has read everything."""
        ...


async def run_session(
    streams: CommandStreams, start: Callable[[], Awaitable[ExecSession]], outcome: Outcome
) -> None:
    """Start the command and run it; refusals to start reach the client as its status. ConnectionError passes."""
    try:
        session = await start()
    except ApiError as err:
        # A kubelet that refuses does not upgrade the connection to it.
        status = command_status.internal_error(f"unable to upgrade connection: {err}")
    except StartError as err:
        status = command_status.internal_error(f"error executing command in container: {err}")
    else:
        await run_command(streams, session, outcome)
        return
    await streams.finish(status)


async def run_command(streams: CommandStreams, session: ExecSession, outcome: Outcome) -> None:
    """Run a session that was opened to its end; it is closed in every case. ConnectionError passes."""
    async with closing(session):
        status = await race(_command(session, streams, outcome), _input(session, streams), _pings(streams))
    if status is not None:
        await streams.finish(status)


async def _command(session: ExecSession, streams: CommandStreams, outcome: Outcome) -> Object | None:
    try:
        code = await _relay(session, streams)
    except ConnectionError:
        raise
    except StartError as err:
        return command_status.internal_error(f"error executing command in container: {err}")
    except ApiError as err:
        return command_status.internal_error(str(err))
    except Exception:
        logger.exception("a session with a container failed")
        return command_status.internal_error("error executing command in container: see the server's log")
    return outcome(code)


async def _input(session: ExecSession, streams: CommandStreams) -> Object | None:
    try:
        await streams.pump_input(session)
    except ConnectionError:
        raise
    except Exception:
        logger.exception("handing input to a container failed")
    return None


async def _pings(streams: CommandStreams) -> Object | None:
    while True:
        await asyncio.sleep(PING_SECONDS)
        await streams.ping()


async def _relay(session: ExecSession, streams: CommandStreams) -> int:
    """Output to the client; the exit code. See the module docstring for when it ends."""
    chunks = aiter(session.output())
    exited = asyncio.ensure_future(session.wait())
    pending: asyncio.Future[_Chunk | None] | None = None
    try:
        while True:
            pending = pending or asyncio.ensure_future(_next(chunks))
            if exited.done():
                await asyncio.wait((pending,), timeout=LINGER_SECONDS)
                if not pending.done():
                    break
            else:
                await asyncio.wait((pending, exited), return_when=asyncio.FIRST_COMPLETED)
                if not pending.done():
                    continue
            chunk, pending = pending.result(), None
            if chunk is None:
                break
            await streams.send(*chunk)
        return await exited
    finally:
        await cancel_all(task for task in (pending, exited) if task is not None)


_Chunk = tuple[Literal["stdout", "stderr"], bytes]


async def _next(chunks: AsyncIterator[_Chunk]) -> _Chunk | None:
    return await anext(chunks, None)
