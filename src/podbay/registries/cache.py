"""Content of registries by digest, in memory and, with a directory, on disk. What is found is checked against its digest."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from pathlib import Path
from typing import Final

__all__ = ["ContentCache"]

_DIGEST: Final = re.compile("sha256:([a-f0-9]{64})")
_IN_MEMORY: Final = 256
_ON_DISK: Final = 4096
"""Files; a manifest or configuration has a few kilobytes. The oldest go first."""


class ContentCache:
    """Small documents. Losing it costs requests, nothing else, so no failure of the disk is told."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._kept: dict[str, bytes] = {}

    async def get(self, digest: str) -> bytes | None:
        if digest in self._kept:
            return self._kept[digest]
        found = _DIGEST.fullmatch(digest)
        if found is None or self._directory is None:
            return None
        data = await asyncio.to_thread(_read, self._directory / found[1])
        if data is None or hashlib.sha256(data).hexdigest() != found[1]:
            return None
        self._remember(digest, data)
        return data

    async def put(self, digest: str, data: bytes) -> None:
        if digest in self._kept:
            return
        self._remember(digest, data)
        found = _DIGEST.fullmatch(digest)
        if found is not None and self._directory is not None:
            await asyncio.to_thread(_write, self._directory, found[1], data)

    def _remember(self, digest: str, data: bytes) -> None:
        self._kept[digest] = data
        while len(self._kept) > _IN_MEMORY:
            del self._kept[next(iter(self._kept))]


def _read(path: Path) -> bytes | None:
    try:
        data = path.read_bytes()
        os.utime(path)
        return data
    except OSError:
        return None


def _write(directory: Path, name: str, data: bytes) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (directory / name).exists():
            return
        draft = directory / f".{name}.{os.getpid()}"
        draft.write_bytes(data)
        draft.replace(directory / name)
        _shrink(directory)
    except OSError:
        return


def _shrink(directory: Path) -> None:
    files = [each for each in directory.iterdir() if not each.name.startswith(".")]
    if len(files) <= _ON_DISK:
        return
    files.sort(key=lambda each: each.stat().st_mtime)
    for each in files[: len(files) - _ON_DISK]:
        each.unlink(missing_ok=True)
