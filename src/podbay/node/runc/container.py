"""One container as the runc runtime remembers it, and its record on disk."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from podbay.errors import StartError
from podbay.node.observed import ResolvedUser
from podbay.node.runc.launch import Launched
from podbay.node.runc.process import is_running
from podbay.node.specs import ContainerSpec

__all__ = ["Container", "from_record", "joined_processes", "signal_number", "to_record"]

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


def joined_processes(
    namespaces: Mapping[str, str], spec: ContainerSpec, read: Callable[[str], Container | None]
) -> Mapping[str, str]:
    """The pod's namespaces (sandboxes.Sandbox.namespaces) with the processes that the container is to join.

    A pod that shares processes shares them anyway. StartError when the other container does not run.
    """
    if not spec.processes_of or namespaces.get("pid") != "":
        return namespaces
    target = read(spec.processes_of)
    process = target.process if target is not None else None
    if process is None or not is_running(process.pid, process.ticks):
        message = f'container "{spec.processes_of}", whose processes it is to join, is not running'
        raise StartError("CreateContainerError", message)
    return {**namespaces, "pid": f"/proc/{process.pid}/ns/pid"}


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
