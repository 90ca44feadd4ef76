"""The OCI runtime configuration of one container, from values that are already decided and paths that exist. Pure.

Sources: opencontainers/runtime-spec (config.md, config-linux.md) for the form; Docker's documentation of its default
mounts, masked and read-only paths for the content.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from podbay.node.observed import ImageConfig, ResolvedUser
from podbay.node.runc.seccomp import default_profile, resolve
from podbay.node.specs import ContainerSpec, Limits, Tmpfs

__all__ = [
    "BoundMount",
    "DeviceNode",
    "Machine",
    "Surroundings",
    "build_config",
    "process_arguments",
    "process_environment",
]

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_DEFAULT_DEVICES = (
    # Character devices every container may use: null, zero, full, random, urandom, tty, console, ptmx, pts.
    ("c", 1, 3),
    ("c", 1, 5),
    ("c", 1, 7),
    ("c", 1, 8),
    ("c", 1, 9),
    ("c", 5, 0),
    ("c", 5, 1),
    ("c", 5, 2),
    ("c", 136, None),
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What of the machine decides the configuration."""

    architecture: str
    kernel: tuple[int, int]
    cgroup_version: int
    swap_accounting: bool
    controllers: frozenset[str]
    seccomp: bool
    apparmor: bool
    oom_score_floor: int
    """The lowest oom_score_adj we may set."""
    rootless: bool = False
    """We are root of a user namespace only."""
    many_users: bool = True
    """Processes may run as other users than one."""


@dataclass(frozen=True, slots=True)
class BoundMount:
    """A mount whose source has been found; source is a path of the machine, or the size of a tmpfs."""

    source: str | Tmpfs
    target: str
    read_only: bool = False
    recursive_read_only: bool = False
    propagation: str = "private"


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """A device file that was looked at."""

    target: str
    mode: int
    major: int
    minor: int
    uid: int = 0
    gid: int = 0
    permissions: str = "rwm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where the container finds itself: paths of its sandbox and bundle."""

    root: str
    cgroup: str
    namespaces: Mapping[str, str] = field(default_factory=dict)
    """OCI namespace type to the path to join, "" for a new one."""
    hostname: str = ""
    home: str = "/"
    files: Sequence[BoundMount] = ()
    """The pod's hosts, hostname and resolv.conf files, its shared memory, the message file."""
    devices: Sequence[DeviceNode] = ()
    capabilities: Sequence[str] = ()


def process_arguments(spec: ContainerSpec, image: ImageConfig) -> list[str]:
    """What is executed: the pod's command and args where given, else the image's."""
    if spec.command:
        return [*spec.command, *spec.args]
    return [*image.entrypoint, *(spec.args or image.command)]


def process_environment(spec: ContainerSpec, image: ImageConfig, hostname: str, home: str) -> list[str]:
    """NAME=value in the order image, pod; the last value of a name wins."""
    merged = {"PATH": _PATH, "HOSTNAME": hostname}
    if spec.tty:
        merged["TERM"] = "xterm"
    for entry in image.env:
        name, _, value = entry.partition("=")
        merged[name] = value
    merged.update(spec.env)
    merged.setdefault("HOME", home)
    return [f"{name}={value}" for name, value in merged.items()]


def build_config(
    spec: ContainerSpec, image: ImageConfig, user: ResolvedUser, around: Surroundings, machine: Machine
) -> dict[str, Any]:
    """The content of config.json."""
    security = spec.security
    capabilities = list(around.capabilities)
    # A privileged container keeps them across a change of user; others lose them, as setuid programs do.
    process = {
        "terminal": spec.tty,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups) * machine.many_users},
        "args": process_arguments(spec, image),
        "env": process_environment(spec, image, around.hostname, around.home),
        "cwd": spec.working_dir or image.working_dir or "/",
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
        "noNewPrivileges": security.no_new_privileges,
    }
    if spec.limits.oom_score_adj is not None and not machine.rootless:
        process["oomScoreAdj"] = max(spec.limits.oom_score_adj, machine.oom_score_floor)
    profile = _apparmor(spec, machine)
    if profile:
        process["apparmorProfile"] = profile
    return {
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": around.root, "readonly": security.read_only_root},
        "mounts": _mounts(spec, around, machine),
        "linux": _linux(spec, around, machine),
    }


def _linux(spec: ContainerSpec, around: Surroundings, machine: Machine) -> dict[str, Any]:
    security = spec.security
    linux: dict[str, Any] = {
        "namespaces": [{"type": "mount"}, *(_namespace(*item) for item in around.namespaces.items())],
        "rootfsPropagation": _root_propagation(spec),
        "devices": [_device(device) for device in around.devices],
    }
    if not machine.rootless:
        linux["cgroupsPath"] = around.cgroup
        linux["resources"] = _resources(spec, around, machine)
    if not security.privileged:
        linux["maskedPaths"] = list(_MASKED)
        linux["readonlyPaths"] = list(_READ_ONLY)
    if not machine.seccomp or security.privileged or security.seccomp == "unconfined":
        return linux
    if security.seccomp == "default":
        linux["seccomp"] = default_profile(machine.architecture, around.capabilities)
    elif not isinstance(security.seccomp, str):
        linux["seccomp"] = resolve(
            security.seccomp, machine.architecture, around.capabilities, machine.kernel
        )
    return linux


def _namespace(kind: str, path: str) -> dict[str, str]:
    return {"type": kind, "path": path} if path else {"type": kind}


def _root_propagation(spec: ContainerSpec) -> str:
    wanted = {mount.propagation for mount in spec.mounts}
    return (
        "rshared" if "bidirectional" in wanted else "rslave" if "host_to_container" in wanted else "private"
    )


def _apparmor(spec: ContainerSpec, machine: Machine) -> str:
    if not machine.apparmor or spec.security.privileged or spec.security.apparmor == "unconfined":
        return ""
    return spec.security.apparmor


def _resources(spec: ContainerSpec, around: Surroundings, machine: Machine) -> dict[str, Any]:
    resources = _limits(spec.limits, machine)
    if spec.security.privileged:
        resources["devices"] = [{"allow": True, "access": "rwm"}]
        return resources
    allowed: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    # Making any device node is harmless while opening it is refused.
    allowed += [{"allow": True, "type": kind, "access": "m"} for kind in "cb"]
    for kind, major, minor in _DEFAULT_DEVICES:
        rule = {"allow": True, "type": kind, "major": major, "access": "rwm"}
        allowed.append(rule if minor is None else {**rule, "minor": minor})
    allowed += [
        {"allow": True, "type": _kind(d.mode), "major": d.major, "minor": d.minor, "access": d.permissions}
        for d in around.devices
    ]
    resources["devices"] = allowed
    return resources


def _limits(limits: Limits, machine: Machine) -> dict[str, Any]:
    resources: dict[str, Any] = {}
    if limits.memory is not None and "memory" in machine.controllers:
        resources["memory"] = {"limit": limits.memory}
        if machine.swap_accounting:
            resources["memory"]["swap"] = limits.memory
        if machine.cgroup_version == 2:
            # As the kubelet does on version 2: a container is killed as a whole.
            resources["unified"] = {"memory.oom.group": "1"}
    cpu: dict[str, Any] = {}
    if limits.cpu_shares is not None:
        cpu["shares"] = max(2, limits.cpu_shares)
    if limits.cpu_quota is not None:
        cpu.update(quota=max(1000, limits.cpu_quota), period=limits.cpu_period)
    if cpu and "cpu" in machine.controllers:
        resources["cpu"] = cpu
    if limits.pids is not None and "pids" in machine.controllers:
        resources["pids"] = {"limit": limits.pids}
    return resources


def _device(device: DeviceNode) -> dict[str, Any]:
    return {
        "path": device.target,
        "type": _kind(device.mode),
        "major": device.major,
        "minor": device.minor,
        "fileMode": stat.S_IMODE(device.mode),
        "uid": device.uid,
        "gid": device.gid,
    }


def _kind(mode: int) -> str:
    return "b" if stat.S_ISBLK(mode) else "c"


def _mounts(spec: ContainerSpec, around: Surroundings, machine: Machine) -> list[dict[str, Any]]:
    writable = spec.security.privileged
    given = [_bound(mount) for mount in around.files]
    replaced = {mount["destination"] for mount in given}
    own_network = "network" in around.namespaces
    system = [
        mount
        for mount in _system(writable, machine, own_network=own_network)
        if mount["destination"] not in replaced
    ]
    # Outer directories first, or an inner mount would be hidden by one that comes later.
    ordered = sorted(given, key=lambda mount: str(mount["destination"]).rstrip("/").count("/"))
    return system + ordered


def _system(writable: bool, machine: Machine, *, own_network: bool) -> list[dict[str, Any]]:
    safe = ["nosuid", "noexec", "nodev"]
    access = "rw" if writable else "ro"
    terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    if machine.many_users:
        terminals.append("gid=5")
    sys = _mount("/sys", "sysfs", "sysfs", [*safe, access])
    if machine.rootless and not own_network:
        # sysfs shows a network namespace, and may be mounted by its owner only.
        sys = _mount("/sys", "bind", "/sys", ["rbind", *safe, "ro"])
    mounts = [
        _mount("/proc", "proc", "proc", safe),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", "devpts", terminals),
        _mount("/dev/mqueue", "mqueue", "mqueue", safe),
        sys,
    ]
    if machine.cgroup_version and not machine.rootless:
        mounts.append(_mount("/sys/fs/cgroup", "cgroup", "cgroup", [*safe, "relatime", access]))
    return mounts


def _mount(target: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": options}


def _bound(mount: BoundMount) -> dict[str, Any]:
    access = "ro" if mount.read_only else "rw"
    if isinstance(mount.source, Tmpfs):
        options = ["nosuid", "nodev", access, f"mode={mount.source.mode:o}"]
        if mount.source.size is not None:
            options.append(f"size={mount.source.size}")
        return _mount(mount.target, "tmpfs", "tmpfs", options)
    shared = {"private": "rprivate", "host_to_container": "rslave", "bidirectional": "rshared"}
    options = ["rbind", shared[mount.propagation], "rro" if mount.recursive_read_only else access]
    return _mount(mount.target, "bind", mount.source, options)
