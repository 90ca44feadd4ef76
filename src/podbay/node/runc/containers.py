"""Containers on disk and in the kernel: making, starting, reading their end, killing, removing, finding them again.

Blocks; called from worker threads, one at a time per container. What a container is now is told by `observe`, from
files and processes alone, so that it does not matter which process started it.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from podbay.errors import StartError
from podbay.node import kernel
from podbay.node.images.manifest import image_config
from podbay.node.images.store import ImageStore, StoredImage
from podbay.node.observed import ContainerState, ContainerStatus
from podbay.node.runc import layout as records
from podbay.node.runc.capabilities import capabilities_for
from podbay.node.runc.cgroups import Cgroups
from podbay.node.runc.container import Container, from_record, joined_processes, signal_number, to_record
from podbay.node.runc.launch import Launched, Launcher
from podbay.node.runc.layout import ContainerFiles, Layout, container_id
from podbay.node.runc.mounts import find_devices, find_mounts, release_sub_paths
from podbay.node.runc.process import is_running, send, wait_executed, wait_gone
from podbay.node.runc.sandboxes import Sandbox
from podbay.node.runc.snapshots import Snapshots
from podbay.node.runc.spec import BoundMount, Machine, Surroundings, build_config, process_arguments
from podbay.node.runc.users import home_of, resolve_user
from podbay.node.runc.volumes import Volumes
from podbay.node.specs import ContainerSpec
from podbay.node.trees import remove_tree

__all__ = ["Containers"]

_EXECUTE_SECONDS = 1.0
"""How long a process may take from being let go to executing its command."""
_LOST_EXIT_CODE = 255
"""As containerd reports a container whose end nobody saw."""
_KILL_SECONDS = 10.0
"""A killed process that takes longer than this to go hangs in the kernel."""
_ACCOUNT_FILE_MAX = 4 << 20


class Containers:
    """Makes, starts, observes and removes the containers of one state directory."""

    def __init__(
        self,
        layout: Layout,
        images: ImageStore,
        snapshots: Snapshots,
        volumes: Volumes,
        cgroups: Cgroups,
        launcher: Launcher,
        *,
        machine: Machine,
        available: frozenset[str],
    ) -> None:
        self._layout = layout
        self._images = images
        self._snapshots = snapshots
        self._volumes = volumes
        self._cgroups = cgroups
        self._launcher = launcher
        self._machine = machine
        self._available = available

    def create(self, sandbox: Sandbox, spec: ContainerSpec) -> Container:
        """Make it, not running. StartError; nothing is left then."""
        identity = container_id(sandbox.id, spec.name, spec.attempt)
        self.remove(identity, f"{sandbox.cgroup}/{identity}")
        image = self._images.get(spec.image_id)
        if image is None:
            raise StartError(
                "CreateContainerError", f'image "{spec.image_id}" of "{spec.image}" is not present'
            )
        try:
            return self._make(identity, sandbox, spec, image)
        except OSError as error:
            self.remove(identity, f"{sandbox.cgroup}/{identity}")
            where = f" ({error.filename})" if error.filename else ""
            message = f"failed to create container: {error.strerror or error}{where}"
            raise StartError("CreateContainerError", message) from error
        except BaseException:
            self.remove(identity, f"{sandbox.cgroup}/{identity}")
            raise

    def _make(self, identity: str, sandbox: Sandbox, spec: ContainerSpec, image: StoredImage) -> Container:
        config = image_config(image.config)
        if not process_arguments(spec, config):
            raise StartError("CreateContainerError", "no command specified")
        files = self._layout.container(identity)
        files.path.mkdir(mode=0o711)
        files.log.parent.mkdir()
        self._snapshots.mount(image.layers, files.root, upper=files.upper, work=files.path / "work")
        passwd, group = (_read_inside(files.root, name) for name in ("etc/passwd", "etc/group"))
        user = resolve_user(spec.user, config.user, passwd, group)
        if not self._machine.many_users and (user.uid, user.gid) != (0, 0):
            raise StartError(
                "CreateContainerError",
                f"cannot run as user {user.uid}, group {user.gid}: this user namespace has one user; install uidmap and "
                "give yourself ids in /etc/subuid and /etc/subgid",
            )
        container = Container(
            identity,
            sandbox.id,
            spec.name,
            spec.attempt,
            spec.image,
            spec.image_id,
            dict(spec.labels),
            time.time_ns(),
            f"{sandbox.cgroup}/{identity}",
            user,
            signal_number(spec.stop_signal or config.stop_signal),
            spec.tty,
            spec.stdin,
            spec.stdin_once,
            sandbox.spec.share_processes or sandbox.spec.host_pid or bool(spec.processes_of),
        )
        around = self._surroundings(container, sandbox, spec, files)
        around = replace(around, home=home_of(user.uid, passwd))
        oci = build_config(spec, config, user, around, self._machine)
        _write_private(files.config, orjson.dumps(oci))
        records.write_record(files.record, to_record(container))
        return container

    def _surroundings(
        self, container: Container, sandbox: Sandbox, spec: ContainerSpec, files: ContainerFiles
    ) -> Surroundings:
        shared = self._layout.sandbox(sandbox.id)
        read_only = spec.security.read_only_root
        bound = find_mounts(
            list(spec.mounts), files, self._volumes, lambda image: self._image_tree(files, image)
        )
        taken = {mount.target for mount in bound}
        own = [
            BoundMount(str(shared.hosts), "/etc/hosts", read_only),
            BoundMount(str(shared.hostname), "/etc/hostname", read_only),
            BoundMount(str(shared.resolv_conf), "/etc/resolv.conf", read_only),
            BoundMount("/dev/shm" if sandbox.spec.host_ipc else str(shared.shm), "/dev/shm"),
        ]
        if spec.message_path:
            files.message.touch()
            files.message.chmod(0o666)
            own.append(BoundMount(str(files.message), spec.message_path))
        return Surroundings(
            root=str(files.root),
            cgroup=f"/{container.cgroup}",
            namespaces=joined_processes(sandbox.namespaces(shared), spec, self.read),
            hostname=sandbox.hostname,
            files=[*bound, *(mount for mount in own if mount.target not in taken)],
            devices=find_devices(list(spec.devices), privileged=spec.security.privileged),
            capabilities=capabilities_for(spec.security, self._available),
        )

    def _image_tree(self, files: ContainerFiles, image_id: str) -> Path:
        image = self._images.get(image_id)
        if image is None:
            raise StartError("CreateContainerError", f'image "{image_id}" for a volume is not present')
        place = files.sub_paths / f"image-{image.id.removeprefix('sha256:')[:20]}"
        if not place.exists():
            files.sub_paths.mkdir(exist_ok=True)
            self._snapshots.mount(image.layers, place, upper=None)
        return place

    def start(self, container: Container) -> Container:
        """Run it. StartError; it has ended then, with the error's exit code."""
        files = self._layout.container(container.id)
        if files.starting.exists() or files.ended.exists():
            return container
        options = ["--terminal"] * container.tty + ["--stdin"] * container.stdin
        if container.stdin and not container.stdin_once:
            options.append("--leave-stdin-open")
        try:
            if not self._snapshots.is_mounted(files.root):
                raise StartError("StartError", "its file tree was lost with the machine's restart")
            launched = self._launcher.create(container.id, files, options)
            files.starting.touch()
            self._launcher.release(container.id, files, launched)
        except StartError as error:
            self._record_end(files, error.exit_code, time.time_ns(), reason=error.reason, message=str(error))
            self._forget_runtime(container)
            raise
        return self._remember(container, launched)

    def _remember(self, container: Container, launched: Launched) -> Container:
        started = replace(container, process=launched)
        records.write_record(self._layout.container(container.id).record, to_record(started))
        return started

    def observe(self, container: Container) -> ContainerStatus:
        """What it is now. An end that was not recorded yet is recorded."""
        files = self._layout.container(container.id)
        ended = records.read_record(files.ended) or self._find_end(container, files)
        started_ns = _time_of(files.starting)
        if ended is not None:
            lost = bool(ended.get("lost"))
            return self._status(
                container,
                ContainerState.UNKNOWN if lost else ContainerState.EXITED,
                started_ns=started_ns,
                finished_ns=ended["finished_ns"],
                exit_code=ended["exit_code"],
                oom_killed=ended["oom_killed"],
                reason=ended["reason"],
                message=ended["message"],
            )
        return self._status(
            container, ContainerState.RUNNING if started_ns else ContainerState.CREATED, started_ns=started_ns
        )

    def _find_end(self, container: Container, files: ContainerFiles) -> dict[str, Any] | None:
        if not files.starting.exists():
            return None
        exit_file = self._layout.exit(container.id)
        try:
            code, when = int(exit_file.read_text()), exit_file.stat().st_mtime_ns
        except (FileNotFoundError, ValueError):
            if self._alive(container, files):
                return None
            # The exit file may have come in between.
            if exit_file.exists():
                return self._find_end(container, files)
            return self._record_end(files, _LOST_EXIT_CODE, time.time_ns(), lost=True)
        if container.shares_processes and self._cgroups.version:
            # Its first process is not the first of the namespace, so the others outlive it.
            self._cgroups.kill(container.cgroup)
        killed = (files.path / "oom").exists()
        if self._cgroups.version:
            killed = killed or self._cgroups.out_of_memory_kills(container.cgroup) > 0
        return self._record_end(files, code, when, oom_killed=killed)

    def _alive(self, container: Container, files: ContainerFiles) -> bool:
        if container.process is not None and is_running(container.process.pid, container.process.ticks):
            return True
        # conmon writes the exit file after the process is gone.
        return self._launcher.has_conmon(files)

    def _record_end(
        self,
        files: ContainerFiles,
        exit_code: int,
        finished_ns: int,
        *,
        oom_killed: bool = False,
        lost: bool = False,
        reason: str = "",
        message: str = "",
    ) -> dict[str, Any]:
        record = {
            "exit_code": exit_code,
            "finished_ns": finished_ns,
            "oom_killed": oom_killed,
            "lost": lost,
            "reason": reason,
            "message": message,
        }
        records.write_record(files.ended, record)
        return record

    def _status(self, container: Container, state: ContainerState, **values: Any) -> ContainerStatus:
        return ContainerStatus(
            id=container.id,
            sandbox_id=container.sandbox_id,
            name=container.name,
            attempt=container.attempt,
            image=container.image,
            image_id=container.image_id,
            labels=container.labels,
            created_ns=container.created_ns,
            user=container.user,
            state=state,
            **values,
        )

    def kill(self, container: Container, number: int) -> None:
        """Send a signal to the first process; SIGKILL to all. No error when it does not run."""
        files = self._layout.container(container.id)
        process = container.process or self._launcher.read_process(files)
        if process is None or not files.starting.exists():
            return
        if number == signal.SIGKILL and self._cgroups.version:
            self._cgroups.kill(container.cgroup)
        elif number != signal.SIGKILL:
            wait_executed(process.pid, _EXECUTE_SECONDS)
        send(process.pid, process.ticks, number)

    def read(self, identity: str) -> Container | None:
        """A container from its record; None when it was never finished."""
        record = records.read_record(self._layout.container(identity).record)
        return None if record is None else from_record(record)

    def adopt(self, container: Container) -> Container:
        """Take over a container of an earlier process: one that was caught while starting is finished or undone."""
        files = self._layout.container(container.id)
        if files.ended.exists():
            return container
        process = self._launcher.read_process(files)
        if files.starting.exists():
            if process is None:
                return container
            if self._launcher.waits_for_release(container.id):
                self._launcher.release(container.id, files, process)
            return container if container.process else self._remember(container, process)
        if files.conmon_pid.exists():
            self._forget_runtime(container)
        return container

    def _forget_runtime(self, container: Container) -> None:
        """Undo a creation by runc that must not count as a start."""
        self._end_processes(container.id, container.cgroup)
        shutil.rmtree(self._layout.runc / container.id, ignore_errors=True)
        self._layout.exit(container.id).unlink(missing_ok=True)
        if self._cgroups.version:
            self._cgroups.remove(container.cgroup)

    def _end_processes(self, identity: str, cgroup: str) -> None:
        files = self._layout.container(identity)
        process = self._launcher.read_process(files)
        if self._cgroups.version:
            self._cgroups.kill(cgroup)
        if process is not None:
            send(process.pid, process.ticks, signal.SIGKILL)
            wait_gone(process.pid, _KILL_SECONDS)
        self._launcher.end_conmon(files, 1.0)

    def release(self, container: Container) -> None:
        """Free what only a running container needs; its record, log and message stay. It has ended."""
        files = self._layout.container(container.id)
        self._end_processes(container.id, container.cgroup)
        release_sub_paths(files)
        while files.root.exists() and kernel.detach(files.root):
            pass
        if self._cgroups.version:
            self._cgroups.remove(container.cgroup)
        shutil.rmtree(self._layout.runc / container.id, ignore_errors=True)
        self._layout.exit(container.id).unlink(missing_ok=True)
        # What is left of it goes with the container.
        with suppress(OSError):
            remove_tree(files.upper)

    def remove(self, identity: str, cgroup: str) -> None:
        """Remove whatever there is of it. Raises OSError when something cannot be removed; call it again then."""
        files = self._layout.container(identity)
        if not files.path.exists():
            return
        files.record.unlink(missing_ok=True)
        self._end_processes(identity, cgroup)
        release_sub_paths(files)
        while files.root.exists() and kernel.detach(files.root):
            pass
        if self._cgroups.version:
            self._cgroups.remove(cgroup)
        shutil.rmtree(self._layout.runc / identity, ignore_errors=True)
        self._layout.exit(identity).unlink(missing_ok=True)
        remove_tree(files.path)

    def read_message(self, identity: str, limit: int) -> bytes:
        """The end of the termination message file."""
        try:
            with self._layout.container(identity).message.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - limit))
                return file.read(limit)
        except FileNotFoundError:
            return b""


def _time_of(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _read_inside(root: Path, name: str) -> str:
    """A small text file of the image; symlinks in the image lead nowhere else."""
    try:
        descriptor = kernel.open_in_root(root, name, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        return file.read(_ACCOUNT_FILE_MAX).decode("utf-8", "replace")


def _write_private(path: Path, data: bytes) -> None:
    # The environment in it may hold secrets.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
