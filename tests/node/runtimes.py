"""The runtimes under test: how each is opened on a state directory, and what it would leave behind.

A further runtime is one more entry here; the suite itself knows none of them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from engines import DOCKER, DOCKER_DEVIATIONS, PODMAN, PODMAN_DEVIATIONS

from podbay.node.runc.runtime import RuncRuntime
from podbay.node.runtime import Runtime


@dataclass(frozen=True)
class RuntimeKind:
    """One runtime. `left` names what exists on the machine because of a state directory."""

    name: str
    open: Callable[[Path], AbstractAsyncContextManager[Runtime]]
    left: Callable[[Path], set[str]]
    available: Callable[[], bool]
    deviations: Mapping[str, str] = field(default_factory=dict)
    """Tests that it cannot pass, and why."""


def _runc_left(base: Path) -> set[str]:
    found = {f"mount {line.split()[4]}" for line in _mounts() if str(base) in line.split()[4]}
    # The node's own mark: other clusters may run on this machine.
    node = hashlib.sha256(str(base).encode()).hexdigest()[:12]
    links = (f"pb{node[:10]}", f"pv{node[:5]}")
    found |= {f"link {name}" for _, name in socket.if_nameindex() if name.startswith(links)}
    groups = [*Path("/sys/fs/cgroup").glob(f"*/podbay/{node}"), Path(f"/sys/fs/cgroup/podbay/{node}")]
    found |= {f"cgroup {path}" for path in groups if path.exists()}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(base) in line and int(process.name) != os.getpid():
            found.add(f"process {process.name} {line[:80]}")
    for name in ("sandboxes", "containers", "volumes", "exits", "runc"):
        found |= {f"file {path}" for path in (base / name).glob("*")}
    return found


def _mounts() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


def _has_runc() -> bool:
    return os.geteuid() == 0 and shutil.which("runc") is not None and shutil.which("conmon") is not None


KINDS = {
    "runc": RuntimeKind("runc", RuncRuntime, _runc_left, _has_runc),
    "docker": RuntimeKind("docker", DOCKER.open, DOCKER.left, DOCKER.available, DOCKER_DEVIATIONS),
    "podman": RuntimeKind("podman", PODMAN.open, PODMAN.left, PODMAN.available, PODMAN_DEVIATIONS),
}
_RUNC = "runc"
PARAMETERS = [
    pytest.param(
        kind, id=kind.name, marks=[pytest.mark.root, *([] if kind.name == _RUNC else [pytest.mark.engine])]
    )
    for kind in KINDS.values()
]
