"""Where everything lies in the runtime's state directory, and the identities of sandboxes and containers.

The directory is all there is: what is not in it does not exist. Records are written whole (write, rename), a directory
without its record was never finished and is cleared away when the runtime opens.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

__all__ = [
    "ContainerFiles",
    "Layout",
    "SandboxFiles",
    "container_id",
    "read_record",
    "sandbox_id",
    "write_record",
]


def sandbox_id(node: str, pod_uid: str, attempt: int) -> str:
    """64 hex digits, as in CRI; the same for the same pod and attempt, so that making it twice makes one."""
    return hashlib.sha256(f"sandbox\0{node}\0{pod_uid}\0{attempt}".encode()).hexdigest()


def container_id(sandbox: str, name: str, attempt: int) -> str:
    """64 hex digits, the same for the same container and attempt."""
    return hashlib.sha256(f"container\0{sandbox}\0{name}\0{attempt}".encode()).hexdigest()


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Put a JSON record in place in one step."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(orjson.dumps(record))
    temporary.replace(path)


def read_record(path: Path) -> dict[str, Any] | None:
    """The record, None when it is missing or was never finished."""
    try:
        record = orjson.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, orjson.JSONDecodeError):
        return None
    return record if isinstance(record, dict) else None


@dataclass(frozen=True, slots=True)
class SandboxFiles:
    """The directory of one sandbox."""

    path: Path

    @property
    def record(self) -> Path:
        return self.path / "sandbox.json"

    @property
    def hosts(self) -> Path:
        return self.path / "hosts"

    @property
    def hostname(self) -> Path:
        return self.path / "hostname"

    @property
    def resolv_conf(self) -> Path:
        return self.path / "resolv.conf"

    @property
    def shm(self) -> Path:
        """Where the pod's shared memory is mounted."""
        return self.path / "shm"

    def namespace(self, kind: str) -> Path:
        """The file that keeps a namespace ("net", "ipc", "uts") alive."""
        return self.path / f"ns-{kind}"


@dataclass(frozen=True, slots=True)
class ContainerFiles:
    """The directory of one container; it is also its OCI bundle."""

    path: Path

    @property
    def record(self) -> Path:
        return self.path / "container.json"

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def root(self) -> Path:
        """Where the container's file tree is mounted."""
        return self.path / "rootfs"

    @property
    def upper(self) -> Path:
        """What the container wrote."""
        return self.path / "upper"

    @property
    def message(self) -> Path:
        return self.path / "termination-message"

    @property
    def sub_paths(self) -> Path:
        """Mount points that hold resolved sub paths."""
        return self.path / "subpaths"

    @property
    def log(self) -> Path:
        return self.path / "log" / "container.log"

    @property
    def pid(self) -> Path:
        return self.path / "pid"

    @property
    def conmon_pid(self) -> Path:
        return self.path / "conmon.pid"

    @property
    def starting(self) -> Path:
        """Exists from just before the first process may run; its time is the start time."""
        return self.path / "starting"

    @property
    def ended(self) -> Path:
        """The record of how it ended."""
        return self.path / "ended.json"

    @property
    def runtime_log(self) -> Path:
        """What runc had to say."""
        return self.path / "runc.log"

    @property
    def control(self) -> Path:
        """The named pipe on which conmon takes orders (resize, reopen logs)."""
        return self.path / "ctl"

    @property
    def attach(self) -> Path:
        """The socket on which conmon offers the process's streams."""
        return self.path / "attach"


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths under one state directory."""

    base: Path

    @property
    def record(self) -> Path:
        return self.base / "runtime.json"

    @property
    def images(self) -> Path:
        return self.base / "images"

    @property
    def sandboxes(self) -> Path:
        return self.base / "sandboxes"

    @property
    def containers(self) -> Path:
        return self.base / "containers"

    @property
    def volumes(self) -> Path:
        return self.base / "volumes"

    @property
    def exits(self) -> Path:
        """conmon leaves one file per ended container, named by its id."""
        return self.base / "exits"

    @property
    def runc(self) -> Path:
        """runc's own state."""
        return self.base / "runc"

    def make(self) -> None:
        """Create the directories, readable by their owner only."""
        self.base.mkdir(parents=True, exist_ok=True)
        os.chmod(self.base, 0o711)  # noqa: PTH101 - other users' processes in containers pass through it
        for path in (self.images, self.sandboxes, self.containers, self.volumes, self.exits, self.runc):
            path.mkdir(exist_ok=True)

    def sandbox(self, identity: str) -> SandboxFiles:
        return SandboxFiles(self.sandboxes / identity)

    def container(self, identity: str) -> ContainerFiles:
        return ContainerFiles(self.containers / identity)

    def exit(self, identity: str) -> Path:
        return self.exits / identity
