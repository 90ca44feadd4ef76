"""Linux calls that Python 3.11 does not have: mounts, namespaces, inotify, scoped path resolution.

Thin wrappers over libc; every failure is an OSError with the path. Not for decisions. Sources: mount(2), unshare(2),
setns(2), inotify(7), openat2(2).
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from pathlib import Path

__all__ = [
    "CLONE_FS",
    "CLONE_NEWIPC",
    "CLONE_NEWNET",
    "CLONE_NEWUTS",
    "IN_CLOSE_WRITE",
    "IN_CREATE",
    "IN_DELETE_SELF",
    "IN_MODIFY",
    "IN_MOVED_TO",
    "IN_MOVE_SELF",
    "MNT_DETACH",
    "MS_BIND",
    "MS_NODEV",
    "MS_NOEXEC",
    "MS_NOSUID",
    "MS_PRIVATE",
    "MS_RDONLY",
    "MS_REC",
    "MS_REMOUNT",
    "bind",
    "detach",
    "inotify_add",
    "inotify_init",
    "inotify_remove",
    "kernel_version",
    "mount",
    "open_in_root",
    "sethostname",
    "setns",
    "unshare",
]

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8

CLONE_FS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWNET = 0x200, 0x4000000, 0x8000000, 0x40000000

IN_MODIFY, IN_CLOSE_WRITE, IN_MOVED_TO, IN_CREATE = 0x2, 0x8, 0x80, 0x100
IN_DELETE_SELF, IN_MOVE_SELF = 0x400, 0x800
_IN_NONBLOCK_CLOEXEC = 0x800 | 0x80000

_OPENAT2 = 437
"""The same number on every architecture (it came after they were unified)."""
_RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 0x02, 0x10

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
]
_libc.syscall.restype = ctypes.c_long


def _check(result: int, path: str = "") -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path or None)
    return result


def mount(source: str, target: str | Path, kind: str, flags: int = 0, options: str = "") -> None:
    """mount(2)."""
    _check(
        _libc.mount(source.encode(), os.fsencode(target), kind.encode(), flags, options.encode()),
        str(target),
    )


def bind(source: str | Path, target: str | Path, *, recursive: bool = False) -> None:
    """Show source at target too; target must exist and be of the same sort (file or directory)."""
    mount(str(source), target, "none", MS_BIND | (MS_REC if recursive else 0))


def detach(target: str | Path) -> bool:
    """Unmount now, lazily if busy. False when nothing is mounted there; further mounts on top need further calls."""
    if _libc.umount2(os.fsencode(target), MNT_DETACH | _UMOUNT_NOFOLLOW) == 0:
        return True
    code = ctypes.get_errno()
    if code in (22, 2):  # EINVAL: no mount point; ENOENT: nothing there at all.
        return False
    raise OSError(code, os.strerror(code), str(target))


def unshare(flags: int) -> None:
    """unshare(2) for the calling thread alone."""
    _check(_libc.unshare(flags))


def setns(descriptor: int, kind: int) -> None:
    """setns(2) for the calling thread alone."""
    _check(_libc.setns(descriptor, kind))


def sethostname(name: str) -> None:
    """The hostname in the calling thread's UTS namespace."""
    data = name.encode()
    _check(_libc.sethostname(data, len(data)))


def inotify_init() -> int:
    """A non-blocking, close-on-exec inotify descriptor."""
    return _check(_libc.inotify_init1(_IN_NONBLOCK_CLOEXEC))


def inotify_add(descriptor: int, path: str | Path, mask: int) -> int:
    """Watch path; gives the watch's number."""
    return _check(_libc.inotify_add_watch(descriptor, os.fsencode(path), mask), str(path))


def inotify_remove(descriptor: int, watch: int) -> None:
    """Stop a watch; no error when it is gone already."""
    _libc.inotify_rm_watch(descriptor, watch)


def open_in_root(root: str | Path, path: str, flags: int) -> int:
    """Open path as if root were "/": symlinks and ".." never lead out of it. Raises OSError."""
    directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        how = struct.pack("QQQ", flags | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
        buffer = ctypes.create_string_buffer(how)
        name = path.lstrip("/") or "."
        return _check(
            int(_libc.syscall(_OPENAT2, directory, os.fsencode(name), buffer, len(how))), f"{root}/{name}"
        )
    finally:
        os.close(directory)


def kernel_version() -> tuple[int, int]:
    """Major and minor of the running kernel."""
    major, _, rest = platform.release().partition(".")
    digits = rest.split(".", 1)[0].split("-", 1)[0]
    return int(major), int(digits or 0)
