"""Directories that other users can walk through: containers run as them, and so do tests of ordinary users.

pytest's own are no such place: each run of pytest on the machine closes the directory above those of all runs again.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["open_directory"]


@contextmanager
def open_directory() -> Iterator[Path]:
    """A new directory which everybody may enter and only its owner may change; removed at the end."""
    path = Path(tempfile.mkdtemp(prefix="podbay-test-"))
    path.chmod(0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
