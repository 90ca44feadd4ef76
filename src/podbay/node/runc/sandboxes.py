"""Sandboxes: the namespaces, files, address and control group that the containers of one pod share.

Blocks; called from worker threads, one at a time per sandbox. A sandbox has no process, except for pods that share
processes: there the pause program is the first of them.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from podbay.errors import StartError
from podbay.node import kernel
from podbay.node.observed import SandboxStatus
from podbay.node.pod_files import hosts_text, resolv_conf_text, usable_resolv_conf
from podbay.node.runc import layout as records
from podbay.node.runc.cgroups import Cgroups
from podbay.node.runc.launch import Launched, Launcher
from podbay.node.runc.layout import ContainerFiles, Layout, SandboxFiles, sandbox_id
from podbay.node.runc.namespaces import keep_namespaces
from podbay.node.runc.netlink import Netlink
from podbay.node.runc.network import PodNetwork
from podbay.node.runc.pause import pause_program
from podbay.node.runc.spec import Machine
from podbay.node.specs import Limits, SandboxSpec
from podbay.node.trees import remove_tree

__all__ = ["Sandbox", "Sandboxes"]

_SHM_BYTES = 64 << 20
"""Size of /dev/shm, as Docker and containerd set it."""
_IPC_SYSCTLS = frozenset(
    f"kernel.{name}"
    for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)
"""Those of an IPC namespace (ipc_namespaces(7))."""
_RESOLVED = Path("/run/systemd/resolve/resolv.conf")
"""The real name servers where /etc/resolv.conf names systemd-resolved's local one."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A sandbox that was made whole."""

    id: str
    spec: SandboxSpec
    created_ns: int
    ips: tuple[str, ...]
    hostname: str
    cgroup: str
    pause_pid: int = 0

    def namespaces(self, files: SandboxFiles) -> dict[str, str]:
        """OCI namespaces for a container in it."""
        spec = self.spec
        found = (
            {}
            if spec.host_network
            else {"network": str(files.namespace("net")), "uts": str(files.namespace("uts"))}
        )
        if not spec.host_ipc:
            found["ipc"] = str(files.namespace("ipc"))
        if not spec.host_pid:
            found["pid"] = str(files.namespace("pid")) if spec.share_processes else ""
        return found

    def status(self, *, ready: bool) -> SandboxStatus:
        return SandboxStatus(
            id=self.id,
            pod_uid=self.spec.pod_uid,
            pod_name=self.spec.pod_name,
            pod_namespace=self.spec.pod_namespace,
            attempt=self.spec.attempt,
            labels=dict(self.spec.labels),
            created_ns=self.created_ns,
            ready=ready,
            ips=self.ips,
        )


class Sandboxes:
    """Makes, reads and removes sandboxes of one state directory."""

    def __init__(
        self,
        layout: Layout,
        network: PodNetwork,
        cgroups: Cgroups,
        launcher: Launcher,
        *,
        node: str,
        machine: Machine,
    ) -> None:
        self._layout = layout
        self._network = network
        self._cgroups = cgroups
        self._launcher = launcher
        self._node = node
        self._machine = machine

    def identity(self, spec: SandboxSpec) -> str:
        return sandbox_id(self._node, spec.pod_uid, spec.attempt)

    def group(self, identity: str) -> str:
        """The control group of a sandbox."""
        return f"podbay/{self._node}/{identity}"

    def create(self, spec: SandboxSpec) -> Sandbox:
        """Make it. StartError; nothing is left then."""
        identity = self.identity(spec)
        self.remove(identity, ())
        address = ""
        try:
            files = self._layout.sandbox(identity)
            files.path.mkdir(mode=0o711)
            if self._network.works and not spec.host_network:
                address = self._network.reserve()
            return self._make(identity, files, spec, address)
        except OSError as error:
            self.remove(identity, (address,) if address else ())
            where = f" ({error.filename})" if error.filename else ""
            message = f"failed to create pod sandbox: {error.strerror or error}{where}"
            raise StartError("CreatePodSandboxError", message) from error
        except BaseException:
            self.remove(identity, (address,) if address else ())
            raise

    def _make(self, identity: str, files: SandboxFiles, spec: SandboxSpec, address: str) -> Sandbox:
        ips = (address,) if address else ()
        hostname = spec.hostname or os.uname().nodename
        if self._cgroups.version:
            self._cgroups.make(self.group(identity), spec.limits)
        self._make_namespaces(identity, files, spec, address)
        if not spec.host_ipc:
            files.shm.mkdir()
            flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
            kernel.mount("shm", files.shm, "tmpfs", flags, f"mode=1777,size={_SHM_BYTES}")
        self._write_files(files, spec, ips, hostname)
        pause = self._start_pause(identity, files, spec, hostname) if spec.share_processes else None
        sandbox = Sandbox(
            identity, spec, time.time_ns(), ips, hostname, self.group(identity), pause.pid if pause else 0
        )
        records.write_record(files.record, _to_record(sandbox))
        return sandbox

    def _make_namespaces(self, identity: str, files: SandboxFiles, spec: SandboxSpec, address: str) -> None:
        kinds = [] if spec.host_network else ["net", "uts"]
        if not spec.host_ipc:
            kinds.append("ipc")
        if not kinds:
            return
        with Netlink() as machine:
            inside = self._inside(identity, spec, address, machine)
            keep_namespaces({kind: files.namespace(kind) for kind in kinds}, inside)

    def _inside(self, identity: str, spec: SandboxSpec, address: str, machine: Netlink) -> Callable[[], None]:
        def work() -> None:
            if not spec.host_network:
                if spec.hostname:
                    kernel.sethostname(spec.hostname)
                with Netlink() as own:
                    own.set_up(1)  # loopback is always the first
                if address:
                    self._network.connect(identity, address, machine)
                # As containerd and Docker set it: any user may serve port 80.
                _set_sysctl("net.ipv4.ip_unprivileged_port_start", "0")
            for name, value in spec.sysctls.items():
                _check_sysctl(name, spec)
                _set_sysctl(name, value)

        return work

    def _write_files(
        self, files: SandboxFiles, spec: SandboxSpec, ips: tuple[str, ...], hostname: str
    ) -> None:
        files.hosts.write_text(hosts_text(spec, ips, _read("/etc/hosts")))
        files.hostname.write_text(f"{hostname}\n")
        own = _read("/etc/resolv.conf")
        if not spec.host_network and not usable_resolv_conf(own) and _RESOLVED.exists():
            own = _RESOLVED.read_text()
        files.resolv_conf.write_text(resolv_conf_text(spec.dns, own))
        for path in (files.hosts, files.hostname, files.resolv_conf):
            path.chmod(0o644)

    def _start_pause(self, identity: str, files: SandboxFiles, spec: SandboxSpec, hostname: str) -> Launched:
        program = pause_program(self._machine.architecture)
        if program is None:
            raise StartError(
                "CreatePodSandboxError", f"pods cannot share processes on {self._machine.architecture}"
            )
        bundle = self._pause(identity)
        bundle.root.mkdir(parents=True)
        bundle.log.parent.mkdir()
        (bundle.root / "pause").write_bytes(program)
        (bundle.root / "pause").chmod(0o755)
        sandbox = Sandbox(identity, spec, 0, (), hostname, self.group(identity))
        bundle.config.write_bytes(
            orjson.dumps(_pause_config(sandbox, files, bundle, rootless=self._machine.rootless))
        )
        launched = self._launcher.create(identity, bundle, ())
        files.namespace("pid").touch()
        kernel.bind(f"/proc/{launched.pid}/ns/pid", files.namespace("pid"))
        self._launcher.release(identity, bundle, launched)
        return launched

    def _pause(self, identity: str) -> ContainerFiles:
        return ContainerFiles(self._layout.sandbox(identity).path / "pause")

    def read(self, identity: str) -> Sandbox | None:
        """A sandbox from its record; None when it was never finished."""
        record = records.read_record(self._layout.sandbox(identity).record)
        return None if record is None else _from_record(record)

    def ready(self, sandbox: Sandbox) -> bool:
        """Whether its namespaces and its pause process are still there."""
        files = self._layout.sandbox(sandbox.id)
        paths = [Path(path) for path in sandbox.namespaces(files).values() if path]
        # A namespace lies on a file system of its own; where its mount is gone there is an empty file.
        if not all(path.exists() and path.stat().st_dev != files.path.stat().st_dev for path in paths):
            return False
        return (
            not sandbox.spec.share_processes
            or self._launcher.read_process(self._pause(sandbox.id)) is not None
        )

    def stop(self, sandbox: Sandbox) -> Sandbox:
        """Free its network, namespaces and control group; only its record stays. Its containers were released before."""
        stopped = replace(sandbox, ips=(), pause_pid=0)
        files = self._layout.sandbox(sandbox.id)
        records.write_record(files.record, _to_record(stopped))
        self._dismantle(sandbox.id, files)
        for address in sandbox.ips:
            self._network.release(address)
        return stopped

    def remove(self, identity: str, addresses: tuple[str, ...]) -> None:
        """Remove whatever there is of it; its containers have been removed before."""
        files = self._layout.sandbox(identity)
        if not files.path.exists():
            return
        files.record.unlink(missing_ok=True)
        self._dismantle(identity, files)
        remove_tree(files.path)
        for address in addresses:
            self._network.release(address)

    def _dismantle(self, identity: str, files: SandboxFiles) -> None:
        if self._cgroups.version:
            self._cgroups.kill(self.group(identity))
        pause = self._pause(identity)
        if pause.path.exists():
            self._end_pause(identity, pause)
        self._network.disconnect(identity)
        for kind in ("net", "uts", "ipc", "pid"):
            while files.namespace(kind).exists() and kernel.detach(files.namespace(kind)):
                pass
        while files.shm.exists() and kernel.detach(files.shm):
            pass
        if self._cgroups.version:
            self._cgroups.remove(self.group(identity))

    def _end_pause(self, identity: str, pause: ContainerFiles) -> None:
        launched = self._launcher.read_process(pause)
        if launched is not None:
            os.kill(launched.pid, 9)
        self._launcher.end_conmon(pause, 1.0)
        shutil.rmtree(self._layout.runc / identity, ignore_errors=True)
        self._layout.exit(identity).unlink(missing_ok=True)


def _pause_config(
    sandbox: Sandbox, files: SandboxFiles, bundle: ContainerFiles, *, rootless: bool
) -> dict[str, Any]:
    namespaces = {**sandbox.namespaces(files), "pid": "", "mount": ""}
    linux: dict[str, Any] = {
        "namespaces": [
            {"type": kind, "path": path} if path else {"type": kind} for kind, path in namespaces.items()
        ]
    }
    if not rootless:
        linux["cgroupsPath"] = f"/{sandbox.cgroup}/pause"
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 65535, "gid": 65535} if not rootless else {"uid": 0, "gid": 0},
            "args": ["/pause"],
            "cwd": "/",
            "noNewPrivileges": True,
        },
        "root": {"path": str(bundle.root), "readonly": True},
        "mounts": [
            {
                "destination": "/proc",
                "type": "proc",
                "source": "proc",
                "options": ["nosuid", "noexec", "nodev"],
            }
        ],
        "linux": linux,
    }


def _to_record(sandbox: Sandbox) -> dict[str, Any]:
    record = asdict(sandbox)
    record["version"] = 1
    return record


def _from_record(record: Mapping[str, Any]) -> Sandbox:
    spec = record["spec"]
    # Only what later steps need: what runs in it was told the rest when it was made.
    kept = {
        key: spec[key]
        for key in (
            "pod_uid",
            "pod_name",
            "pod_namespace",
            "attempt",
            "labels",
            "hostname",
            "host_network",
            "host_pid",
            "host_ipc",
            "share_processes",
        )
    }
    return Sandbox(
        record["id"],
        SandboxSpec(**kept, limits=Limits(**spec["limits"])),
        record["created_ns"],
        tuple(record["ips"]),
        record["hostname"],
        record["cgroup"],
        record["pause_pid"],
    )


def _check_sysctl(name: str, spec: SandboxSpec) -> None:
    # The kernel keeps all others once for the whole machine, whoever sets them from whichever namespace.
    dotted = name.replace("/", ".")
    of_network = dotted.startswith("net.") and not spec.host_network
    of_ipc = (dotted in _IPC_SYSCTLS or dotted.startswith("fs.mqueue.")) and not spec.host_ipc
    if not (of_network or of_ipc):
        raise StartError("CreatePodSandboxError", f'sysctl "{name}" is not in a separate kernel namespace')


def _set_sysctl(name: str, value: str) -> None:
    Path("/proc/sys", name.replace(".", "/")).write_text(value)


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
