"""Directory trees that strangers made: removing them, and what they take. Block.

Neither may grow with the depth of a tree: a program in a container nests directories deeper than Python's stack, a
path or a process's descriptors go.
"""

from __future__ import annotations

import os
import subprocess
from itertools import count
from pathlib import Path

__all__ = ["disk_usage", "remove_tree"]


def remove_tree(path: Path) -> None:
    """Remove a directory with all that is in it; nobody writes to it any more. Raises OSError.

    Directories come up to the top before they are emptied, so that two are open at a time and no path gets long.
    """
    top = _open(None, path)
    try:
        # A name that is there already would only be overwritten, and goes anyway.
        prefix, numbers = os.urandom(8).hex(), count()
        while names := os.listdir(top):  # noqa: PTH208 - a descriptor, not a path
            for name in names:
                if _unlink(top, name):
                    continue
                inner = _open(top, name)
                try:
                    for entry in os.listdir(inner):  # noqa: PTH208
                        if not _unlink(inner, entry):
                            _unlock(inner, entry)
                            moved = f"{prefix}-{next(numbers)}"
                            os.rename(entry, moved, src_dir_fd=inner, dst_dir_fd=top)
                finally:
                    os.close(inner)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    path.rmdir()


def _open(parent: int | None, name: str | Path) -> int:
    _unlock(parent, name)
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)


def _unlink(parent: int, name: str) -> bool:
    """False when it is a directory."""
    try:
        os.unlink(name, dir_fd=parent)
    except IsADirectoryError:
        return False
    return True


def _unlock(parent: int | None, name: str | Path) -> None:
    # An image may hold directories that only root can change.
    if os.geteuid() != 0:
        os.chmod(name, 0o700, dir_fd=parent)


def disk_usage(path: Path) -> int:
    """Bytes that files below path take on disk; a file linked twice counts once. 0 when there is no such directory."""
    try:
        own = path.stat().st_blocks * 512
    except OSError:
        return 0
    # Files come and go meanwhile, which it reports as an error.
    found = subprocess.run(["du", "-sk", "--", path], capture_output=True, check=False).stdout.split(None, 1)
    return max(0, int(found[0]) * 1024 - own) if found else 0
