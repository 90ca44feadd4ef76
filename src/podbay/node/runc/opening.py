"""Putting the runtime's parts together for one state directory, and taking them down. Blocks."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import IO

from podbay.errors import ConflictError, RuntimeUnavailableError, StateError
from podbay.node.images.store import ImageStore
from podbay.node.observed import ContainerStatus, Features, RuntimeInfo, SandboxStatus
from podbay.node.runc import layout as records
from podbay.node.runc.capabilities import bounding_set
from podbay.node.runc.cgroups import Cgroups, find_cgroups
from podbay.node.runc.containers import Containers
from podbay.node.runc.launch import Launcher, find_programs
from podbay.node.runc.layout import Layout
from podbay.node.runc.machine import look_at_machine, node_platform, os_image, read_id_map
from podbay.node.runc.network import PodNetwork
from podbay.node.runc.pause import pause_program
from podbay.node.runc.pods import PodTable
from podbay.node.runc.rootless import end_holder
from podbay.node.runc.sandboxes import Sandboxes
from podbay.node.runc.snapshots import Snapshots
from podbay.node.runc.spec import Machine
from podbay.node.runc.volumes import Volumes
from podbay.node.specs import Limits

__all__ = ["Parts", "open_parts"]

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that is open."""

    layout: Layout
    images: ImageStore
    volumes: Volumes
    network: PodNetwork
    launcher: Launcher
    pods: PodTable
    info: RuntimeInfo
    lock: IO[str]

    def close(self) -> None:
        """Let another process open the directory. A node without pods leaves nothing on the machine."""
        if self.pods.empty:
            self.pods.remove_groups()
            self.network.close_down()
        self.lock.close()

    def reset(self) -> None:
        """Remove everything but images; what all pods shared goes when this is closed. May be repeated."""
        self.pods.remove_all()
        self.volumes.remove_all()
        if self.network.works:
            self.pods.clear_links()
        self.layout.record.unlink(missing_ok=True)
        end_holder(self.layout.base)


def open_parts(
    base: Path, publish: Callable[[ContainerStatus | SandboxStatus], None], forget: Callable[[str], None]
) -> Parts:
    """Open a state directory. RuntimeUnavailableError, ConflictError (another process has it), StateError."""
    ids = read_id_map(Path("/proc/self/uid_map").read_text())
    if os.geteuid() != 0:
        raise RuntimeUnavailableError(
            "the runc runtime needs root, or a user namespace to be root of (podbay.node.runc.rootless): start the "
            "cluster as root, or install Docker or Podman and use its engine"
        )
    programs = find_programs()
    layout = Layout(base.resolve())
    lock = _make_and_lock(layout)
    try:
        record = _read_record(layout)
        node = str(record.get("node") or hashlib.sha256(str(layout.base).encode()).hexdigest()[:12])
        cgroups = _usable(find_cgroups(Path("/proc/self/mountinfo").read_text()), node)
        machine = look_at_machine(cgroups, ids, seccomp=programs.seccomp)
        images, volumes, snapshots = (
            ImageStore(layout.images, user_namespace=machine.rootless),
            Volumes(layout.volumes),
            Snapshots(layout.images / "layers", user_namespace=machine.rootless),
        )
        images.open()
        snapshots.probe(layout.base / "probe")
        network = PodNetwork(
            node, layout.base, IPv4Network(record["subnet"]) if record.get("subnet") else None
        )
        launcher = Launcher(programs, layout)
        sandboxes = Sandboxes(layout, network, cgroups, launcher, node=node, machine=machine)
        available = bounding_set(Path("/proc/self/status").read_text())
        containers = Containers(
            layout, images, snapshots, volumes, cgroups, launcher, machine=machine, available=available
        )
        pods = PodTable(
            layout,
            sandboxes,
            containers,
            network=network,
            cgroups=cgroups,
            node=node,
            publish=publish,
            forget=forget,
        )
        network.open(pods.load())
        if network.works:
            pods.clear_links()
        records.write_record(
            layout.record,
            {"version": _VERSION, "node": node, "subnet": str(network.subnet) if network.works else None},
        )
        info = _info(programs.version, machine, network, snapshots)
        return Parts(layout, images, volumes, network, launcher, pods, info, lock)
    except BaseException:
        lock.close()
        raise


def _make_and_lock(layout: Layout) -> IO[str]:
    try:
        layout.make()
        lock = (layout.base / "lock").open("w")
    except OSError as error:
        raise StateError(f"{layout.base} cannot be used for containers: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ConflictError(f"{layout.base} is in use by another process: stop that cluster first") from None
    return lock


def _read_record(layout: Layout) -> dict[str, object]:
    record = records.read_record(layout.record) or {}
    if record.get("version", _VERSION) != _VERSION:
        raise StateError(
            f"{layout.record} was written by a newer version of podbay: use that, or reset the cluster"
        )
    return record


def _usable(cgroups: Cgroups, node: str) -> Cgroups:
    """The hierarchies if groups can be made in them, else none."""
    if not cgroups.version:
        return cgroups
    try:
        cgroups.make(f"podbay/{node}", Limits())
    except OSError:
        return Cgroups({}, None, ())
    return cgroups


def _info(version: str, machine: Machine, network: PodNetwork, snapshots: Snapshots) -> RuntimeInfo:
    found = node_platform()
    return RuntimeInfo(
        name="runc",
        version=version,
        os=found.os,
        architecture=found.architecture,
        variant=found.variant,
        kernel_version=platform.release(),
        os_image=os_image(),
        features=_features(machine, network, snapshots),
    )


def _features(machine: Machine, network: PodNetwork, snapshots: Snapshots) -> Features:
    notes = [note for note in (network.problem, snapshots.problem) if note]
    if not machine.many_users:
        notes.append(
            "all containers run as one user: install uidmap and give the user ids in /etc/subuid and /etc/subgid"
        )
    memory, cpu, pids = (name in machine.controllers for name in ("memory", "cpu", "pids"))
    if not machine.cgroup_version:
        who = "an ordinary user" if machine.rootless else "this process"
        notes.append(f"limits are not enforced: {who} cannot make control groups on this machine")
    elif not (memory and cpu and pids):
        missing = [name for name, has in (("memory", memory), ("cpu", cpu), ("pids", pids)) if not has]
        notes.append(
            f"limits on {', '.join(missing)} are not enforced: the kernel lacks these cgroup controllers"
        )
    if not machine.seccomp:
        notes.append("system calls are not filtered: runc or the kernel was built without seccomp")
    if machine.oom_score_floor > -1000 and not machine.rootless:
        notes.append(
            "processes cannot be shielded from the out-of-memory killer: CAP_SYS_RESOURCE is missing"
        )
    return Features(
        memory_limit=memory,
        cpu_limit=cpu,
        pids_limit=pids,
        pod_network=network.works,
        pod_ip_from_host=network.works,
        outbound_network=network.outbound,
        host_paths=True,
        host_network=True,
        users=machine.many_users,
        shared_processes=pause_program(machine.architecture) is not None,
        seccomp=machine.seccomp,
        notes=tuple(notes),
    )
