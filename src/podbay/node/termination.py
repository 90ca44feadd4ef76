"""Termination messages: what a container leaves behind in its status. Pure.

4096 bytes of the message file; with FallbackToLogsOnError, when the file is empty and the container failed, the last
80 lines of its log, at most 2048 bytes. Source: pkg/kubelet/kuberuntime/kuberuntime_container.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from podbay.node.observed import ContainerStatus, LogLine
from podbay.objects.meta import Object

__all__ = [
    "LOG_BYTES",
    "LOG_LINES",
    "MESSAGE_BYTES",
    "log_message",
    "reads_file",
    "shorten",
    "text_of",
    "wants_log",
]

MESSAGE_BYTES = 4096
LOG_LINES = 80
LOG_BYTES = 2048
TOTAL_BYTES = 12 * 1024
"""All messages of a pod together; above that each gets an equal share."""

_ESCAPED = re.compile("[\udc80-\udcff]")
"""How Python shows bytes that are not UTF-8."""


def reads_file(container: Object) -> bool:
    """Whether there is a message file to read."""
    return bool(container.get("terminationMessagePath"))


def wants_log(container: Object, status: ContainerStatus, message: bytes) -> bool:
    """Whether the log stands in for the message."""
    fallback = container.get("terminationMessagePolicy") == "FallbackToLogsOnError"
    return fallback and not message and status.exit_code != 0 and not status.reason


def log_message(lines: Iterable[LogLine]) -> bytes:
    """The last bytes of these lines."""
    text = b"".join(line.data if line.partial else line.data + b"\n" for line in lines)
    return text[-LOG_BYTES:]


def text_of(message: bytes) -> str:
    """As it stands in the API: what is not UTF-8 is replaced byte by byte, as Go's JSON encoder does."""
    return _ESCAPED.sub("\ufffd", message.decode("utf-8", "surrogateescape"))


def shorten(messages: dict[str, str]) -> dict[str, str]:
    """Messages of one pod cut to their share when together they are above the total."""
    if sum(len(m.encode()) for m in messages.values()) <= TOTAL_BYTES:
        return messages
    share = TOTAL_BYTES // len(messages)
    return {key: m.encode()[:share].decode("utf-8", "ignore") for key, m in messages.items()}
