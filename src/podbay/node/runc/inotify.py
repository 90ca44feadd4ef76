"""File changes as callbacks on the event loop. Source: inotify(7)."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Callable
from pathlib import Path

from podbay.node import kernel

__all__ = ["FileWatch"]

_EVENT = struct.Struct("iIII")
_BUFFER = 64 << 10
_IN_IGNORED, _IN_Q_OVERFLOW = 0x8000, 0x4000


class FileWatch:
    """One inotify instance. All methods belong to the event loop's thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = kernel.inotify_init()
        self._callbacks: dict[int, dict[int, Callable[[str], None]]] = {}
        self._sequence = 0
        self._loop.add_reader(self._descriptor, self._read)

    def add(self, path: Path, mask: int, callback: Callable[[str], None]) -> Callable[[], None]:
        """Call callback with the changed name ("" for path itself, or when changes were lost); gives the undoing.

        Raises OSError.
        """
        watch = kernel.inotify_add(self._descriptor, path, mask)
        self._sequence += 1
        key = self._sequence
        self._callbacks.setdefault(watch, {})[key] = callback

        def remove() -> None:
            callbacks = self._callbacks.get(watch, {})
            callbacks.pop(key, None)
            if not callbacks and self._callbacks.pop(watch, None) is not None and self._descriptor >= 0:
                kernel.inotify_remove(self._descriptor, watch)

        return remove

    def close(self) -> None:
        """Stop everything."""
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
            self._callbacks.clear()

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, _BUFFER)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size
            name = os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
            offset += length
            if mask & _IN_Q_OVERFLOW:
                for callbacks in list(self._callbacks.values()):
                    self._call(callbacks, "")
            else:
                self._call(self._callbacks.get(watch, {}), name)
                if mask & _IN_IGNORED:
                    self._callbacks.pop(watch, None)

    def _call(self, callbacks: dict[int, Callable[[str], None]], name: str) -> None:
        for callback in list(callbacks.values()):
            callback(name)
