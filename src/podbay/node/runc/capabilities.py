"""Capability sets of containers. Pure. Sources: capabilities(7), Docker's default list, CRI's rules for add and drop."""

from __future__ import annotations

from collections.abc import Sequence

from podbay.errors import StartError
from podbay.node.specs import Security

__all__ = ["ALL_CAPABILITIES", "bounding_set", "capabilities_for"]

ALL_CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "MKNOD",
        "LEASE",
        "AUDIT_WRITE",
        "AUDIT_CONTROL",
        "SETFCAP",
        "MAC_OVERRIDE",
        "MAC_ADMIN",
        "SYSLOG",
        "WAKE_ALARM",
        "BLOCK_SUSPEND",
        "AUDIT_READ",
        "PERFMON",
        "BPF",
        "CHECKPOINT_RESTORE",
    ]
)
"""In the kernel's order: the position is the bit."""

_DEFAULT = {
    f"CAP_{name}"
    for name in [
        "CHOWN",
        "DAC_OVERRIDE",
        "FSETID",
        "FOWNER",
        "MKNOD",
        "NET_RAW",
        "SETGID",
        "SETUID",
        "SETFCAP",
        "SETPCAP",
        "NET_BIND_SERVICE",
        "SYS_CHROOT",
        "KILL",
        "AUDIT_WRITE",
    ]
}


def bounding_set(status: str) -> frozenset[str]:
    """What this process may hand on, from the text of /proc/self/status."""
    for line in status.splitlines():
        if line.startswith("CapBnd:"):
            bits = int(line.split()[1], 16)
            return frozenset(name for bit, name in enumerate(ALL_CAPABILITIES) if bits >> bit & 1)
    return frozenset()


def capabilities_for(security: Security, available: frozenset[str]) -> list[str]:
    """The container's set: Docker's default, then add, then drop, but what is added beside "drop ALL" stays; never more than is available. StartError."""
    if security.privileged:
        return [name for name in ALL_CAPABILITIES if name in available]
    added, dropped = _names(security.capabilities.add), _names(security.capabilities.drop)
    everything = set(ALL_CAPABILITIES)
    kept = everything if "CAP_ALL" in added else set(_DEFAULT)
    kept = set() if "CAP_ALL" in dropped else kept - dropped
    if "CAP_ALL" in added and "CAP_ALL" not in dropped:
        kept = everything - dropped
    kept |= added - {"CAP_ALL"} - dropped
    return [name for name in ALL_CAPABILITIES if name in kept and name in available]


def _names(short: Sequence[str]) -> set[str]:
    names = {f"CAP_{name.upper().removeprefix('CAP_')}" for name in short}
    unknown = sorted(names - set(ALL_CAPABILITIES) - {"CAP_ALL"})
    if unknown:
        raise StartError("CreateContainerError", f'unknown capability "{unknown[0]}"')
    return names
