"""Finding the sources of a container's mounts: volumes, host paths, image trees, and paths inside them.

A sub path is resolved by the kernel with the source as its root, opened, and bound to a place of ours; what the pod
does to its volume afterwards (a symlink swapped in) changes nothing. Blocks.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable
from pathlib import Path

from podbay.errors import StartError
from podbay.node import kernel
from podbay.node.runc.layout import ContainerFiles
from podbay.node.runc.spec import BoundMount, DeviceNode
from podbay.node.runc.volumes import Volumes
from podbay.node.specs import Device, HostPath, ImageSource, Mount, Tmpfs, VolumeSource

__all__ = ["find_devices", "find_mounts", "release_sub_paths"]


def find_mounts(
    mounts: list[Mount], files: ContainerFiles, volumes: Volumes, image_tree: Callable[[str], Path]
) -> list[BoundMount]:
    """Each mount with a path of the machine as source. StartError names the mount and what is wrong."""
    return [
        BoundMount(
            _source(mount, number, files, volumes, image_tree),
            posixpath.normpath(mount.target),
            mount.read_only or isinstance(mount.source, ImageSource),
            mount.recursive_read_only,
            mount.propagation,
        )
        for number, mount in enumerate(mounts)
    ]


def _source(
    mount: Mount, number: int, files: ContainerFiles, volumes: Volumes, image_tree: Callable[[str], Path]
) -> str | Tmpfs:
    source = mount.source
    if isinstance(source, Tmpfs):
        return source
    if isinstance(source, VolumeSource):
        base = volumes.path(source.name)
    elif isinstance(source, HostPath):
        base = Path(source.path)
    else:
        base = image_tree(source.image_id)
    if not base.exists():
        raise _refusal(mount, f"{base} does not exist")
    if not mount.sub_path:
        return str(base)
    return str(_bind_sub_path(mount, base, files.sub_paths / str(number)))


def _bind_sub_path(mount: Mount, base: Path, place: Path) -> Path:
    if ".." in mount.sub_path.split("/") or mount.sub_path.startswith("/"):
        raise _refusal(mount, f'sub path "{mount.sub_path}" must not contain ".." or begin with "/"')
    try:
        descriptor = _open_or_make(base, mount.sub_path)
    except OSError as error:
        raise _refusal(mount, f'sub path "{mount.sub_path}": {error.strerror}') from error
    try:
        place.parent.mkdir(exist_ok=True)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            place.mkdir(exist_ok=True)
        else:
            place.touch()
        kernel.bind(f"/proc/self/fd/{descriptor}", place, recursive=True)
    except OSError as error:
        raise _refusal(mount, f'sub path "{mount.sub_path}": {error.strerror}') from error
    finally:
        os.close(descriptor)
    return place


def _open_or_make(base: Path, path: str) -> int:
    try:
        return kernel.open_in_root(base, path, os.O_PATH)
    except FileNotFoundError:
        pass
    above, name = posixpath.split(path.rstrip("/"))
    parent = (
        _open_or_make(base, above) if above else kernel.open_in_root(base, ".", os.O_PATH | os.O_DIRECTORY)
    )
    try:
        outer = os.fstat(parent)
        os.mkdir(name, 0o750, dir_fd=parent)
        # As the kubelet does: a new directory has its parent's permissions and group.
        directory = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            os.fchown(directory, outer.st_uid, outer.st_gid)
            os.fchmod(directory, stat.S_IMODE(outer.st_mode))
        finally:
            os.close(directory)
    except FileExistsError:
        pass
    finally:
        os.close(parent)
    return kernel.open_in_root(base, path, os.O_PATH)


def release_sub_paths(files: ContainerFiles) -> None:
    """Undo the binds of sub paths."""
    if files.sub_paths.is_dir():
        for place in files.sub_paths.iterdir():
            while kernel.detach(place):
                pass


def find_devices(devices: list[Device], *, privileged: bool) -> list[DeviceNode]:
    """The device files a container gets: those asked for; all of the machine when privileged. StartError."""
    found = [_device(device) for device in devices]
    if privileged:
        known = {node.target for node in found}
        found += [node for node in _all_devices(Path("/dev")) if node.target not in known]
    return found


def _device(device: Device) -> DeviceNode:
    try:
        status = Path(device.path).stat()
    except OSError as error:
        raise StartError("CreateContainerError", f'device "{device.path}": {error.strerror}') from error
    if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        raise StartError("CreateContainerError", f'"{device.path}" is not a device')
    return _node(device.target or device.path, status, device.permissions)


def _node(target: str, status: os.stat_result, permissions: str = "rwm") -> DeviceNode:
    device = status.st_rdev
    return DeviceNode(
        target, status.st_mode, os.major(device), os.minor(device), status.st_uid, status.st_gid, permissions
    )


_NOT_SHARED = {
    "pts",
    "shm",
    "fd",
    "mqueue",
    "console",
    "ptmx",
    "tty",
    "null",
    "zero",
    "full",
    "random",
    "urandom",
}
"""Directories of /dev that a container has of its own, and devices that runc makes for everyone."""


def _all_devices(directory: Path) -> list[DeviceNode]:
    found: list[DeviceNode] = []
    for entry in os.scandir(directory):
        if entry.name in _NOT_SHARED or entry.is_symlink():
            continue
        if entry.is_dir():
            found += _all_devices(Path(entry.path))
            continue
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            found.append(_node(entry.path, status))
    return found


def _refusal(mount: Mount, problem: str) -> StartError:
    return StartError("CreateContainerError", f'failed to mount "{mount.target}": {problem}')
