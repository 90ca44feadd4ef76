"""Unpacking one image layer into a directory, in the form overlayfs reads as a lower layer.

A layer is a tar from a stranger: no entry may touch anything outside the directory, whatever its name or the symlinks
before it. Whiteouts become overlayfs's own. Sources: OCI image-spec layer.md, the kernel's filesystems/overlayfs.
"""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import stat
import tarfile
import zlib
from pathlib import Path
from typing import BinaryIO, Protocol

from podbay.errors import InvalidInputError
from podbay.node import kernel
from podbay.node.images.compression import decompressed

__all__ = ["unpack_layer"]

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_XATTR = "SCHILY.xattr."
_CHUNK = 1 << 20


class _Reader(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Hashing:
    """Passes bytes on and hashes them."""

    def __init__(self, source: _Reader) -> None:
        self._source = source
        self.digest = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self.digest.update(data)
        self.size += len(data)
        return data

    def drain(self) -> None:
        while self.read(_CHUNK):
            pass


def unpack_layer(source: BinaryIO, target: Path, diff_id: str, *, user_namespace: bool = False) -> int:
    """Unpack a layer, compressed or not, into the empty directory target; gives its uncompressed size in bytes.

    InvalidInputError when it is no layer or not the one with that diff_id. Raises OSError. Blocks.
    """
    with decompressed(source) as plain:
        hashing = _Hashing(plain)
        try:
            with (
                tarfile.open(fileobj=hashing, mode="r|", bufsize=_CHUNK) as tar,  # type: ignore[call-overload]
                _Unpacker(target, user_namespace=user_namespace) as unpacker,
            ):
                for entry in tar:
                    unpacker.add(tar, entry)
            hashing.drain()
        except (tarfile.TarError, EOFError, zlib.error, ValueError, OverflowError, RecursionError) as error:
            # The last three: names, owners, times and depths that no file can have.
            raise InvalidInputError(f"layer {diff_id} is damaged: {error}") from error
    found = f"sha256:{hashing.digest.hexdigest()}"
    if found != diff_id:
        raise InvalidInputError(f"layer {diff_id} is damaged: its content has digest {found}")
    return hashing.size


class _Unpacker:
    """Adds entries below one directory. Every path is resolved by the kernel as if that directory were "/"."""

    def __init__(self, root: Path, *, user_namespace: bool) -> None:
        self._root = root
        self._opaque = "user.overlay.opaque" if user_namespace else "trusted.overlay.opaque"
        # In a user namespace devices cannot be made, and owners outside its range cannot be set.
        self._lenient = user_namespace
        self._parent: tuple[str, int] | None = None
        self._times: list[tuple[str, int]] = []

    def __enter__(self) -> _Unpacker:
        return self

    def __exit__(self, *exc: object) -> None:
        self._forget_parent()
        # Adding entries changes a directory's time, so directories come last, the deepest first.
        for path, when in reversed(self._times):
            try:
                descriptor = kernel.open_in_root(self._root, path, os.O_RDONLY | os.O_DIRECTORY)
            except OSError:
                continue
            try:
                os.utime(descriptor, ns=(when, when))
            finally:
                os.close(descriptor)

    def add(self, tar: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        path = posixpath.normpath("/" + entry.name.lstrip("/"))
        parent_path, name = posixpath.split(path)
        if not name:
            if entry.isdir():
                self._finish_root(entry)
            return
        parent = self._open_parent(parent_path)
        if name.startswith(_WHITEOUT):
            self._whiteout(parent, name)
        elif entry.isdir():
            self._directory(parent, name, entry)
            self._times.append((path, _nanoseconds(entry)))
        else:
            self._other(tar, entry, parent, name)

    def _open_parent(self, path: str) -> int:
        if self._parent is not None and self._parent[0] == path:
            return self._parent[1]
        self._forget_parent()
        there, missing = path, list[str]()
        while True:
            try:
                descriptor = kernel.open_in_root(self._root, there, os.O_RDONLY | os.O_DIRECTORY)
                break
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR) or there == "/":
                    raise
                there, name = posixpath.split(there)
                missing.append(name)
        self._parent = (there, descriptor)
        for name in reversed(missing):
            _clear(descriptor, name, keep_directory=True)
            os.mkdir(name, 0o755, dir_fd=descriptor)
            self._forget_parent()
            there = posixpath.join(there, name)
            descriptor = kernel.open_in_root(self._root, there, os.O_RDONLY | os.O_DIRECTORY)
            self._parent = (there, descriptor)
        return descriptor

    def _forget_parent(self) -> None:
        if self._parent is not None:
            os.close(self._parent[1])
            self._parent = None

    def _finish_root(self, entry: tarfile.TarInfo) -> None:
        _own(self._root, entry, lenient=self._lenient)
        os.chmod(self._root, entry.mode & 0o7777)  # noqa: PTH101

    def _whiteout(self, parent: int, name: str) -> None:
        if name == _OPAQUE:
            os.setxattr(parent, self._opaque, b"y")
            return
        hidden = name.removeprefix(_WHITEOUT)
        # Names beginning with ".wh..wh." are aufs's own bookkeeping.
        if hidden.startswith(_WHITEOUT) or hidden in ("", ".", ".."):
            return
        try:
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=parent)
        except FileExistsError:
            # It hides what is in layers below, not what this one brings.
            pass

    def _directory(self, parent: int, name: str, entry: tarfile.TarInfo) -> None:
        if not _clear(parent, name, keep_directory=True):
            os.mkdir(name, 0o700, dir_fd=parent)
        _finish(parent, name, entry, lenient=self._lenient)

    def _other(self, tar: tarfile.TarFile, entry: tarfile.TarInfo, parent: int, name: str) -> None:
        if entry.islnk():
            self._hard_link(entry, parent, name)
            return
        _clear(parent, name)
        if entry.isreg():
            _regular(tar, entry, parent, name)
        elif entry.issym():
            os.symlink(entry.linkname, name, dir_fd=parent)
        elif entry.isfifo() or entry.ischr() or entry.isblk():
            kind = stat.S_IFIFO if entry.isfifo() else stat.S_IFCHR if entry.ischr() else stat.S_IFBLK
            device = 0 if entry.isfifo() else os.makedev(entry.devmajor, entry.devminor)
            try:
                os.mknod(name, kind | (entry.mode & 0o7777), device, dir_fd=parent)
            except PermissionError:
                if self._lenient:
                    return
                raise
        else:
            raise tarfile.TarError(f"{entry.name} has unknown type {entry.type!r}")
        _finish(parent, name, entry, lenient=self._lenient)

    def _hard_link(self, entry: tarfile.TarInfo, parent: int, name: str) -> None:
        source_parent, source = posixpath.split(posixpath.normpath("/" + entry.linkname.lstrip("/")))
        directory = kernel.open_in_root(self._root, source_parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if os.path.samestat(os.fstat(directory), os.fstat(parent)) and source == name:
                return
            _clear(parent, name)
            os.link(source, name, src_dir_fd=directory, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(directory)


def _regular(tar: tarfile.TarFile, entry: tarfile.TarInfo, parent: int, name: str) -> None:
    content = tar.extractfile(entry)
    assert content is not None
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    # Buffered: a raw file writes less than it is given when the disk fills up, and says so in its result alone.
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=parent), "wb") as file:
        while chunk := content.read(_CHUNK):
            file.write(chunk)


def _clear(parent: int, name: str, *, keep_directory: bool = False) -> bool:
    """Remove what is at name. True when a directory was kept."""
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(name, dir_fd=parent)
        return False
    if keep_directory:
        return True
    _remove_directory(parent, name)
    return False


def _remove_directory(parent: int, name: str) -> None:
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        for inner in os.listdir(descriptor):  # noqa: PTH208 - a descriptor, not a path
            _clear(descriptor, inner)
    finally:
        os.close(descriptor)
    os.rmdir(name, dir_fd=parent)


def _own(path: str | Path, entry: tarfile.TarInfo, parent: int | None = None, *, lenient: bool) -> None:
    try:
        os.chown(path, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
    except OSError as error:
        if not lenient or error.errno not in (errno.EINVAL, errno.EPERM):
            raise


def _finish(parent: int, name: str, entry: tarfile.TarInfo, *, lenient: bool) -> None:
    """Owner, mode, attributes, time: in this order, as a change of owner clears set-user-id and capabilities."""
    _own(name, entry, parent, lenient=lenient)
    path = f"/proc/self/fd/{parent}/{name}"
    if not entry.issym():
        os.chmod(path, entry.mode & 0o7777)  # noqa: PTH101
    for key, value in entry.pax_headers.items():
        if key.startswith(_XATTR):
            _set_attribute(path, key.removeprefix(_XATTR), value)
    when = _nanoseconds(entry)
    os.utime(name, ns=(when, when), dir_fd=parent, follow_symlinks=False)


def _set_attribute(path: str, name: str, value: str) -> None:
    if name.startswith(("trusted.overlay.", "user.overlay.")):
        # Would change what overlayfs shows.
        return
    try:
        os.setxattr(path, name, value.encode("utf-8", "surrogateescape"), follow_symlinks=False)
    except OSError as error:
        # As other runtimes: a file system or a right that is missing costs the attribute, not the image.
        if error.errno not in (errno.ENOTSUP, errno.EPERM):
            raise


def _nanoseconds(entry: tarfile.TarInfo) -> int:
    return max(0, int(entry.mtime * 1_000_000_000))
