"""hostPath volumes: what must exist, what is made. Works on this machine's files.

Source: pkg/volume/hostpath/host_path.go (type checks and their words).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from podbay.errors import StartError

__all__ = ["ready_host_path"]

_CHECKS: dict[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "FileOrCreate": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


def ready_host_path(path: str, kind: str, *, mode: int = 0o755) -> None:
    """Check the path, make it where its type says so. StartError FailedMount with the kubelet's sentence."""
    try:
        if kind in ("", "DirectoryOrCreate") and not os.path.lexists(path):
            # The kubelet leaves an untyped path alone and the runtime makes the directory; here it is one step.
            _make_directory(path, mode)
        elif kind == "FileOrCreate" and not os.path.lexists(path):
            Path(path).touch(mode=0o644)
    except OSError as error:
        raise StartError("FailedMount", f"hostPath type check failed: {error.strerror}: {path}") from error
    check = _CHECKS.get(kind)
    if check is None:
        return
    test, word = check
    try:
        found = test(Path(path).stat().st_mode)
    except OSError:
        found = False
    if not found:
        raise StartError("FailedMount", f"hostPath type check failed: {path} is not {word}")


def _make_directory(path: str, mode: int) -> None:
    Path(path).mkdir(parents=True, exist_ok=True)
    # mkdir honours the umask; the mode is part of the contract.
    os.chmod(path, mode)  # noqa: PTH101
