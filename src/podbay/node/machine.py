"""What this machine is, as the node reports it: capacity, addresses, identity. Reads files, decides nothing.

Source: pkg/kubelet/nodestatus/setters.go, cadvisor's machine info.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Machine", "look_at_machine"]

_KEPT_MEMORY = 100 << 20
_MAX_PODS = 110
"""The kubelet's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """memory and disk in bytes."""

    cpus: int
    memory: int
    disk: int
    hostname: str
    address: str
    machine_id: str
    boot_id: str
    kernel: str

    def capacity(self) -> dict[str, str]:
        """status.capacity of the node."""
        return {
            "cpu": str(self.cpus),
            "memory": f"{self.memory // 1024}Ki",
            "ephemeral-storage": f"{self.disk // 1024}Ki",
            "pods": str(_MAX_PODS),
        }

    def allocatable(self) -> dict[str, str]:
        """What is left for pods: the kubelet keeps 100 MiB of memory and a tenth of the disk for the machine."""
        return {
            **self.capacity(),
            "memory": f"{(self.memory - _KEPT_MEMORY) // 1024}Ki",
            "ephemeral-storage": str(self.disk * 9 // 10),
        }


def look_at_machine(storage: Path) -> Machine:
    """The machine this process is on; storage is where the node keeps its data."""
    return Machine(
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        disk=shutil.disk_usage(_existing(storage)).total,
        hostname=socket.gethostname(),
        address=_address(),
        machine_id=_text("/etc/machine-id"),
        boot_id=_text("/proc/sys/kernel/random/boot_id"),
        kernel=platform.release(),
    )


def _existing(path: Path) -> Path:
    return next(p for p in (path, *path.parents) if p.exists())


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _address() -> str:
    """The address by which this machine talks to others; loopback without a network. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
