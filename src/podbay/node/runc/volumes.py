"""Volumes as directories (or tmpfs) below the state directory, written in one step as the kubelet does.

Blocks. Source of the update scheme: pkg/volume/util/atomic_writer.go: files live in a timestamped directory, `..data`
points to it, what users see are symlinks through `..data`.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from podbay.errors import InvalidInputError
from podbay.node import kernel
from podbay.node.specs import VolumeFile, VolumeSpec
from podbay.node.trees import disk_usage, remove_tree

__all__ = ["Volumes"]

_DATA = "..data"


class Volumes:
    """The volumes of one state directory."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def path(self, name: str) -> Path:
        """Where a volume's content is. InvalidInputError for a name that could lead elsewhere."""
        parts = name.split("/")
        if not 1 <= len(parts) <= 2 or any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise InvalidInputError(f'"{name}" is no volume name')
        # "~" stands in no Kubernetes name.
        return self._base / "~".join(parts)

    def create(self, spec: VolumeSpec) -> None:
        """Make it; an existing one is left as it is. Raises OSError."""
        target = self.path(spec.name)
        if target.exists() and (target.is_mount() or not spec.memory):
            return
        staging = target.with_name(target.name + ".new")
        self._delete(staging)
        staging.mkdir()
        if spec.memory:
            staging.rename(target) if not target.exists() else staging.rmdir()
            size = f",size={spec.size_limit}" if spec.size_limit is not None else ""
            kernel.mount("tmpfs", target, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, f"mode=0700{size}")
            _own(target, spec)
        else:
            _own(staging, spec)
            staging.rename(target)

    def write(self, name: str, files: Mapping[str, VolumeFile]) -> None:
        """Make it hold exactly these files. InvalidInputError for a path that leads out of it; OSError."""
        target = self.path(name)
        for relative in files:
            _check(relative)
        digest = _digest(files)
        current = target / _DATA
        if current.is_symlink() and os.readlink(current) == digest:  # noqa: PTH115
            return
        group = target.stat().st_gid
        fresh = target / digest
        self._delete(fresh)
        fresh.mkdir(mode=0o755)
        fresh.chmod(0o755)
        for relative, file in files.items():
            _write_file(fresh, relative, file, group)
        old = os.readlink(current) if current.is_symlink() else ""  # noqa: PTH115
        _point(target / "..data_tmp", digest, current)
        _show(target, {PurePosixPath(relative).parts[0] for relative in files})
        if old:
            self._delete(target / old)

    def usage(self, name: str) -> int:
        """Bytes in use."""
        return disk_usage(self.path(name))

    def remove(self, name: str) -> None:
        """Remove it with its content; no error when it is gone."""
        target = self.path(name)
        while target.exists() and kernel.detach(target):
            pass
        self._delete(target)

    def remove_all(self) -> None:
        """Remove every volume."""
        for path in list(self._base.iterdir()):
            while kernel.detach(path):
                pass
            self._delete(path)

    def _delete(self, path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            remove_tree(path)


def _own(path: Path, spec: VolumeSpec) -> None:
    mode = spec.mode
    if spec.group is not None:
        os.chown(path, -1, spec.group)
        # New files get the group too (fsGroup), and the group may write.
        mode |= stat.S_ISGID | 0o060 | 0o010
    path.chmod(mode)


def _check(relative: str) -> None:
    parts = PurePosixPath(relative).parts
    if not parts or relative.startswith("/") or ".." in parts or parts[0].startswith(".."):
        raise InvalidInputError(f'"{relative}" is no path inside a volume')


def _digest(files: Mapping[str, VolumeFile]) -> str:
    digest = hashlib.sha256()
    for relative in sorted(files):
        file = files[relative]
        digest.update(f"{relative}\0{file.mode:o}\0{file.uid}\0{file.gid}\0{len(file.data)}\0".encode())
        digest.update(file.data)
    # Hidden from listings that follow the kubelet's convention, as its timestamped names are.
    return f"..{digest.hexdigest()[:32]}"


def _write_file(base: Path, relative: str, file: VolumeFile, group: int) -> None:
    path = base / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.data)
    os.chown(path, file.uid if file.uid is not None else -1, file.gid if file.gid is not None else group)
    path.chmod(file.mode)


def _point(temporary: Path, text: str, link: Path) -> None:
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(text)
    temporary.rename(link)


def _show(target: Path, wanted: set[str]) -> None:
    for name in wanted:
        link = target / name
        if not link.is_symlink():
            link.symlink_to(f"{_DATA}/{name}")
    for path in list(target.iterdir()):
        if path.is_symlink() and not path.name.startswith("..") and path.name not in wanted:
            path.unlink()
