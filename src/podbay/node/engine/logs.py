"""A container's log, read through the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from podbay.node.engine.api import Engine, Query
from podbay.node.engine.log_frames import LogFrames
from podbay.node.engine.pods import PodsOnEngine
from podbay.node.engine.status import nanoseconds, was_started
from podbay.node.observed import ContainerState, LogLine
from podbay.node.specs import LogQuery

__all__ = ["read_log"]

_SECOND = 1_000_000_000
_START_POLL_SECONDS = 0.1
"""Between looks at a container that has not started; its log is followed from its start."""


async def read_log(
    engine: Engine, pods: PodsOnEngine, container_id: str, query: LogQuery
) -> AsyncGenerator[Sequence[LogLine], None]:
    """See Streams.logs of the runtime protocol."""
    found = await pods.inspect(container_id)
    while query.follow and found is not None and pods.status_of(found).state == ContainerState.CREATED:
        await asyncio.sleep(_START_POLL_SECONDS)
        found = await pods.inspect(container_id)
    if found is None or not was_started(found):
        return
    # Podman's log has whole seconds: a line of the wanted second may be later than the wanted time.
    since = query.since_ns - query.since_ns % _SECOND if engine.podman else query.since_ns
    frames = LogFrames(
        tty=bool(found["Config"].get("Tty")),
        earliest=nanoseconds(str(found.get("Created", ""))),
        drops_newlines=not engine.podman,
    )
    path = f"/containers/{container_id}/logs"
    async with engine.stream("GET", path, query=_parameters(query, since)) as stream:
        if stream.status >= 400:
            return
        async for chunk in stream.chunks():
            if lines := [line for line in frames.feed(chunk) if line.time_ns >= since]:
                yield lines
        if rest := [line for line in frames.finish() if line.time_ns >= since]:
            yield rest


def _parameters(query: LogQuery, since: int) -> Query:
    parameters: dict[str, str | int] = {"stdout": 1, "stderr": 1, "timestamps": 1}
    if query.follow:
        parameters["follow"] = 1
    if since:
        parameters["since"] = f"{since // _SECOND}.{since % _SECOND:09d}"
    if query.tail_lines is not None:
        parameters["tail"] = query.tail_lines
    return parameters
