"""Files that only their owner may read, replaced as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

__all__ = ["make_private_directory", "write_private"]


def make_private_directory(directory: Path) -> None:
    """Create the directory if need be, with mode 0700. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_mode & 0o077:
        directory.chmod(0o700)


def write_private(path: Path, data: bytes) -> None:
    """Write a file with mode 0600 so that readers see the old content or the new, also after a crash.

    A symbolic link is followed, not replaced. Raises OSError.
    """
    target = path.resolve()
    # mkstemp creates with mode 0600: the content is never readable for others, not even for a moment.
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
