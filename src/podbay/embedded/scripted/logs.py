"""Log text of scripted containers, as a kubelet serves it: since, tail, timestamps, follow, limits.

Lines come from the script and the container's times; nothing is stored. Source: pkg/kubelet/kuberuntime/logs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime

from podbay.aio.alarm import Alarm
from podbay.aio.clock import Clock
from podbay.apiserver import status
from podbay.apiserver.streams import LogOptions
from podbay.embedded.scripted.life import ContainerLife, PodLife
from podbay.embedded.scripted.status import container_statuses
from podbay.objects.container_log import logged_attempt
from podbay.objects.events import timestamp_micro
from podbay.objects.meta import name_of

__all__ = ["check_log_request", "read_log", "written_lines"]


def check_log_request(life: PodLife, options: LogOptions) -> ContainerLife:
    """The container to read. Raises ApiError with the kubelet's words."""
    container = life.container(options.container)
    if container is None:
        raise status.bad_request(f"container {options.container} is not valid for pod {name_of(life.pod)}")
    logged_attempt(name_of(life.pod), container_statuses(life), container.name, previous=options.previous)
    return container


def _stamp(seconds: float) -> str:
    """RFC 3339 with nanoseconds, as CRI logs have them."""
    return timestamp_micro(datetime.fromtimestamp(seconds, UTC)).replace("Z", "000Z")


def written_lines(
    container: ContainerLife, options: LogOptions, *, after: float, until: float
) -> list[bytes]:
    """Lines written after `after` (exclusive) and up to `until`, formatted; `since` is applied, tail is not."""
    since = options.since.timestamp() if options.since else float("-inf")
    found = []
    for at, line in container.lines(previous=options.previous):
        if not after < at <= until or at < since:
            continue
        if options.stream != "All" and options.stream.lower() != line.stream:
            continue
        text = f"{_stamp(at)} {line.text}\n" if options.timestamps else f"{line.text}\n"
        found.append(text.encode())
    return found


async def read_log(
    life: PodLife,
    options: LogOptions,
    *,
    clock: Clock,
    axis: Callable[[], float],
    changes: asyncio.Event,
) -> AsyncGenerator[bytes, None]:
    """The log; with follow until the attempt ends. `changes` is set by the owner whenever the life moved on.

    axis tells the present on the life's axis; changes belongs to this reader.
    """
    container = check_log_request(life, options)
    attempt = container.restarts
    now = axis()
    lines = written_lines(container, options, after=float("-inf"), until=life.written_until(now))
    if options.tail_lines is not None:
        lines = lines[max(0, len(lines) - options.tail_lines) :]
    left = options.limit_bytes
    alarm = Alarm(clock, changes.set, name="scripted/log")
    try:
        while True:
            for line in lines:
                part = line if left is None else line[:left]
                if part:
                    yield part
                if left is not None:
                    left -= len(part)
                    if left <= 0:
                        return
            ended = options.previous or container.restarts != attempt or container.state != "running"
            if not options.follow or ended:
                return
            upcoming = [at for at, _ in container.lines() if at > now]
            if upcoming:
                alarm.set(clock.monotonic() + min(upcoming) - axis())
            await changes.wait()
            changes.clear()
            before, now = now, axis()
            if container.restarts != attempt:
                # The rest of this attempt is what `previous` now is; a restart ends the stream.
                previous = LogOptions(
                    container=options.container,
                    previous=True,
                    timestamps=options.timestamps,
                    stream=options.stream,
                )
                lines = written_lines(container, previous, after=before, until=life.written_until(now))
            else:
                lines = written_lines(container, options, after=before, until=life.written_until(now))
    finally:
        await alarm.aclose()
