"""Terminal sizes as clients send them: JSON objects one after the other, {"Width": 80, "Height": 24}. No I/O."""

from __future__ import annotations

import json

__all__ = ["ResizeReader"]

_LIMIT = 4096
"""Bytes of one object; a client that sends more is not read any further."""


class ResizeReader:
    """Turns bytes, cut anywhere, into (width, height) pairs; after something that is no size it gives no more."""

    def __init__(self) -> None:
        self._rest = b""
        self._broken = False

    def feed(self, data: bytes) -> list[tuple[int, int]]:
        self._rest = b"" if self._broken else self._rest + data
        sizes: list[tuple[int, int]] = []
        # The objects are flat, so each ends at its first brace.
        while (end := self._rest.find(b"}") + 1) > 0:
            size = _size(self._rest[:end])
            if size is None:
                self._broken = True
                return sizes
            sizes.append(size)
            self._rest = self._rest[end:]
        self._broken = len(self._rest) > _LIMIT
        return sizes


def _size(text: bytes) -> tuple[int, int] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    # Go matches field names in any case; both are uint16 and 0 when absent.
    fields = {str(name).lower(): number for name, number in value.items()}
    width, height = fields.get("width", 0), fields.get("height", 0)
    if all(type(number) is int and 0 <= number < 65536 for number in (width, height)):
        return width, height
    return None
