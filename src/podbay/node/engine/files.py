"""File operations on the engine's side: one `keeper serve` inside a running container, asked over its streams.

Not for deciding where files go: volumes.py. Requests are answered in order, one at a time. The wire form is told at the
head of keeper/keeper.c.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from podbay.errors import RuntimeUnavailableError
from podbay.node.engine.api import Answer, Engine
from podbay.node.engine.hijack import Duplex, read_frame
from podbay.node.engine.keeper_image import PROGRAM

__all__ = ["Entry", "RemoteFiles"]

_PIECE = 256 << 10
"""Bytes of a file in one request; the keeper takes up to 1 MiB."""
_ONCE = "a"
"""Requests that may not be made twice."""
_DONE_BEFORE = {"s": errno.EEXIST, "n": errno.ENOENT}
"""The error that a request made again gives when it had been done the first time."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands at a path. target is a symbolic link's text."""

    mode: int
    uid: int
    gid: int
    target: str = ""

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)


class RemoteFiles:
    """Paths are relative to the keeper's root and never followed through links. Opened on first use; then `aclose`.

    Every method raises OSError with the errno of the other side, and RuntimeUnavailableError when it is lost.
    """

    def __init__(self, engine: Engine, running: Callable[[], Awaitable[str]]) -> None:
        self._engine = engine
        self._running = running
        """Gives the id of the container to work in, started if need be."""
        self._duplex: Duplex | None = None
        self._pieces = b""
        self._lock = asyncio.Lock()

    async def aclose(self) -> None:
        duplex, self._duplex = self._duplex, None
        if duplex is not None:
            await duplex.aclose()

    async def make_directory(self, path: str, *, mode: int = 0o755, uid: int = 0, gid: int = 0) -> bool:
        """False when something is there already, which is left as it is."""
        try:
            await self._ask("m", path, f"{mode:o}", str(uid), str(gid))
        except FileExistsError:
            return False
        return True

    async def write_file(
        self, path: str, data: bytes, *, mode: int = 0o644, uid: int = 0, gid: int = 0
    ) -> None:
        await self._ask("w", path, f"{mode:o}", str(uid), str(gid), data=data[:_PIECE])
        for start in range(_PIECE, len(data), _PIECE):
            await self._ask("a", path, data=data[start : start + _PIECE])

    async def make_link(self, path: str, target: str) -> None:
        await self._ask("s", path, target)

    async def rename(self, old: str, new: str) -> None:
        await self._ask("n", old, new)

    async def remove(self, path: str) -> None:
        """A file, a link, or a directory with all below it; no error when it is not there."""
        try:
            await self._ask("r", path)
        except FileNotFoundError:
            pass

    async def look(self, path: str) -> Entry | None:
        """None when nothing is there."""
        try:
            answer = await self._ask("l", path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        mode, uid, gid = struct.unpack_from("<III", answer)
        return Entry(mode, uid, gid, os.fsdecode(answer[12:]))

    async def names(self, path: str) -> list[str]:
        """The entries of a directory."""
        return [os.fsdecode(name) for name in (await self._ask("d", path)).split(b"\0")[:-1]]

    async def usage(self, path: str) -> int:
        """Bytes of disk that everything below a directory takes; 0 when it is not there."""
        return int(await self._ask("u", path))

    async def read_end(self, path: str, limit: int) -> bytes:
        """The last limit bytes of a file; empty when it is not there."""
        try:
            return await self._ask("g", path, str(limit))
        except FileNotFoundError:
            return b""

    async def _ask(self, letter: str, *words: str, data: bytes = b"") -> bytes:
        """One request. Asked again once when the connection was lost, as somebody may have removed the keeper."""
        payload = letter.encode() + b"".join(os.fsencode(word) + b"\0" for word in words) + data
        async with self._lock:
            again = False
            try:
                answer = await self._guarded(payload)
            except RuntimeUnavailableError:
                if letter in _ONCE:
                    raise
                again = True
                answer = await self._guarded(payload)
        if answer[0] and not (again and answer[0] == _DONE_BEFORE.get(letter)):
            raise OSError(answer[0], os.strerror(answer[0]), words[0])
        return answer[1:]

    async def _guarded(self, payload: bytes) -> bytes:
        try:
            return await self._exchange(payload)
        except BaseException:
            # An answer that nobody waited for would be taken for the next one's.
            await self.aclose()
            raise

    async def _exchange(self, payload: bytes) -> bytes:
        if self._duplex is None or self._duplex.ended:
            await self.aclose()
            self._duplex = await self._connect()
            self._pieces = b""
        await self._duplex.write(struct.pack(">I", len(payload)) + payload)
        size = int.from_bytes(await self._read(self._duplex, 4), "big")
        return await self._read(self._duplex, size)

    async def _read(self, duplex: Duplex, size: int) -> bytes:
        while len(self._pieces) < size:
            piece = await read_frame(duplex)
            if piece is None:
                raise RuntimeUnavailableError(
                    f"the keeper's connection at {self._engine.endpoint} broke; it is made anew"
                )
            if piece[0] == "stdout":
                self._pieces += piece[1]
        wanted, self._pieces = self._pieces[:size], self._pieces[size:]
        return wanted

    async def _connect(self) -> Duplex:
        container = await self._running()
        body = {
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "Cmd": [PROGRAM, "serve"],
        }
        made = await self._engine.post(f"/containers/{container}/exec", body)
        opened: Duplex | Answer = made
        if made.ok:
            opened = await self._engine.hijack(f"/exec/{made.json()['Id']}/start", {"Detach": False})
        if isinstance(opened, Answer):
            raise RuntimeUnavailableError(
                f"the keeper at {self._engine.endpoint} does not run: {opened.message}"
            )
        return opened
