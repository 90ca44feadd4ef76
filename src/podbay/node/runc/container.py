"""One container as the runc runtime remembers it, and its record on disk. Pure."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from podbay.node.observed import ResolvedUser
from podbay.node.runc.launch import Launched

__all__ = ["Container", "from_record", "signal_number", "to_record"]

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Container:
    """A container that was made whole."""

    id: str
    sandbox_id: str
    name: str
    attempt: int
    image: str
    image_id: str
    labels: Mapping[str, str]
    created_ns: int
    cgroup: str
    user: ResolvedUser
    stop_signal: int
    tty: bool
    stdin: bool
    stdin_once: bool
    shares_processes: bool
    process: Launched | None = None


def to_record(container: Container) -> dict[str, Any]:
    """What is written to disk."""
    return {**asdict(container), "version": _VERSION}


def from_record(record: Mapping[str, Any]) -> Container:
    """A container from its record."""
    values = dict(record)
    values.pop("version")
    user, process = values.pop("user"), values.pop("process")
    return Container(
        **values,
        user=ResolvedUser(user["uid"], user["gid"], tuple(user["groups"])),
        process=Launched(**process) if process else None,
    )


def signal_number(name: str) -> int:
    """The number of a signal by name or number ("SIGUSR1", "usr1", "10", "SIGRTMIN+3"); SIGTERM for what is none."""
    text = name.upper().removeprefix("SIG")
    for base, start in (("RTMIN", signal.SIGRTMIN), ("RTMAX", signal.SIGRTMAX)):
        offset = text.removeprefix(base)
        # "RTMIN+3" is what images of systemd ask for.
        if text.startswith(base) and offset.lstrip("+-").isdigit():
            return start + int(offset)
    if text.isdigit():
        return int(text)
    return getattr(signal.Signals, f"SIG{text}", signal.SIGTERM)
