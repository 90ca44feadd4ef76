"""What this machine can do, looked at once when the runtime opens."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path

from podbay.node import kernel
from podbay.node.images.manifest import Platform
from podbay.node.runc.capabilities import bounding_set
from podbay.node.runc.cgroups import Cgroups
from podbay.node.runc.spec import Machine

__all__ = ["IdMap", "look_at_machine", "node_platform", "os_image", "read_id_map"]

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i686": ("386", ""),
    "ppc64le": ("ppc64le", ""),
    "riscv64": ("riscv64", ""),
    "s390x": ("s390x", ""),
}
_SYS_RESOURCE = "CAP_SYS_RESOURCE"


@dataclass(frozen=True, slots=True)
class IdMap:
    """Which user ids this process's user namespace has."""

    initial: bool
    """It is the machine's own: nothing is mapped."""
    count: int
    """How many ids there are; 1 means that all files and processes belong to one user."""


def read_id_map(text: str) -> IdMap:
    """From the text of /proc/self/uid_map."""
    rows = [[int(word) for word in line.split()] for line in text.splitlines()]
    return IdMap(rows == [[0, 0, 2**32 - 1]], sum(row[2] for row in rows))


def node_platform() -> Platform:
    """What images for this machine are called."""
    machine = platform.machine()
    architecture, variant = _ARCHITECTURES.get(machine, (machine, ""))
    return Platform("linux", architecture, variant)


def os_image() -> str:
    """The distribution's name for itself."""
    try:
        text = Path("/etc/os-release").read_text()
    except OSError:
        return "Linux"
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', text, re.MULTILINE)
    return found[1] if found else "Linux"


def look_at_machine(cgroups: Cgroups, ids: IdMap, *, seccomp: bool) -> Machine:
    """Gather what decides containers' configurations."""
    rootless = not ids.initial
    lowers = _SYS_RESOURCE in bounding_set(Path("/proc/self/status").read_text())
    own_score = int(Path("/proc/self/oom_score_adj").read_text())
    return Machine(
        architecture=node_platform().architecture,
        kernel=kernel.kernel_version(),
        cgroup_version=cgroups.version,
        swap_accounting=cgroups.swap_accounting,
        controllers=cgroups.controllers(),
        seccomp=seccomp and Path("/proc/sys/kernel/seccomp").is_dir(),
        apparmor=Path("/sys/kernel/security/apparmor").is_dir(),
        oom_score_floor=-1000 if lowers and not rootless else own_score,
        rootless=rootless,
        many_users=ids.count > 1,
    )
