"""Processes that are not ours to wait for: is it alive, is it still the same one, tell it a signal.

Process ids are reused; a process is known by id and start time together. Sources: proc(5), pidfd_open(2).
"""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path

__all__ = ["has_executed", "is_running", "send", "start_ticks", "wait_executed", "wait_gone"]


def start_ticks(process: int) -> int | None:
    """When it started, in the kernel's ticks since boot; None when there is no such process or it is a zombie."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def is_running(process: int, ticks: int) -> bool:
    """Whether that very process still runs."""
    return start_ticks(process) == ticks


def send(process: int, ticks: int, number: int) -> bool:
    """Send a signal to that very process. False when it has ended."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return False
    try:
        # The descriptor pins the process, so looking after opening leaves no gap.
        if not is_running(process, ticks):
            return False
        signal.pidfd_send_signal(descriptor, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)


def has_executed(process: int) -> bool:
    """Whether a container's first process is its command and no longer runc, or has ended."""
    try:
        return not Path(f"/proc/{process}/comm").read_text().startswith("runc:[")
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_executed(process: int, seconds: float) -> None:
    """Wait until a container's first process is its command: runc would take signals for its own."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not has_executed(process):
        time.sleep(0.0005)


def wait_gone(process: int, seconds: float) -> bool:
    """Wait until there is no such process. False when it is still there after that time."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        return bool(poller.poll(seconds * 1000))
    finally:
        os.close(descriptor)
