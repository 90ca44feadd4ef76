"""Reading termination messages of containers that have ended."""

from __future__ import annotations

from podbay.node.observed import ContainerState, ContainerStatus, LogLine
from podbay.node.podspec import find_container
from podbay.node.record import PodRecord
from podbay.node.runtime import Streams
from podbay.node.specs import LogQuery
from podbay.node.termination import (
    LOG_LINES,
    MESSAGE_BYTES,
    log_message,
    reads_file,
    shorten,
    text_of,
    wants_log,
)
from podbay.objects.meta import Object

__all__ = ["read_messages"]


async def read_messages(streams: Streams, record: PodRecord, wall: float) -> None:
    """Put the message of every container that has ended into the record, once."""
    for status in record.all():
        if status.state != ContainerState.EXITED or status.id in record.messages or status.reason:
            continue
        container = find_container(record.pod["spec"], status.name)
        if container is not None and not record.is_held(status, wall):
            record.messages[status.id] = await _message(streams, container, status)
    record.messages.update(shorten(record.messages))


async def _message(streams: Streams, container: Object, status: ContainerStatus) -> str:
    message = await streams.read_message(status.id, MESSAGE_BYTES) if reads_file(container) else b""
    if wants_log(container, status, message):
        lines: list[LogLine] = []
        reading = streams.logs(status.id, LogQuery(tail_lines=LOG_LINES))
        try:
            async for batch in reading:
                lines += batch
        finally:
            await reading.aclose()
        message = log_message(lines)
    return text_of(message)
