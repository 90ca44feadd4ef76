"""Exec, attach and connections to ports: the engine's taken-over connections as the agent's streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from podbay.errors import ConflictError, RuntimeUnavailableError, StartError
from podbay.node.engine.api import Answer, Engine
from podbay.node.engine.hijack import Duplex, Piece, demultiplexed, read_frame
from podbay.node.engine.keeper_image import PROGRAM
from podbay.node.engine.pods import PodsOnEngine
from podbay.node.specs import ExecSpec

__all__ = ["EnginePort", "EngineSession", "attach", "connect", "execute"]

_DETACH_KEYS = "ctrl-^,ctrl-@,ctrl-^,ctrl-@,ctrl-_"
"""Engines hang up a terminal on a key sequence, by default one that shells use. Nobody types this."""
_POLLS = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Seconds between questions whether an exec has ended; the last one repeats."""
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
_GONE = 137
"""Exit code of what was removed while somebody waited for it."""
_ENGINE_WORDS = (b"OCI runtime exec failed", b"exec failed:", b"crun: ", b"runc: ")
"""How an engine begins when it writes to stdout itself that a command cannot be started."""


class EngineSession:
    """A running exec or attach; see podbay.apiserver.streams.ExecSession."""

    def __init__(
        self,
        duplex: Duplex,
        *,
        tty: bool,
        resize: Callable[[int, int], Awaitable[object]],
        exit_code: Callable[[asyncio.Event], Awaitable[int]],
        failed: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self._duplex = duplex
        self._tty = tty
        self._resize = resize
        self._exit_code = exit_code
        self._failed = failed
        self._ended = asyncio.Event()

    async def write(self, data: bytes) -> None:
        await self._duplex.write(data)

    async def close_stdin(self) -> None:
        await self._duplex.close_write()

    async def resize(self, width: int, height: int) -> None:
        if self._tty:
            await self._resize(width, height)

    async def output(self) -> AsyncGenerator[Piece, None]:
        pieces = _plain(self._duplex) if self._tty else demultiplexed(self._duplex)
        first = True
        try:
            async for name, data in pieces:
                if first and self._failed is not None and data.lstrip().startswith(_ENGINE_WORDS):
                    # The engine's own words are no output of the command.
                    name = "stderr" if await self._failed() else name
                first = False
                yield name, data
        finally:
            self._ended.set()
            await pieces.aclose()

    async def wait(self) -> int:
        return await self._exit_code(self._ended)

    async def aclose(self) -> None:
        self._ended.set()
        await self._duplex.aclose()


class FailedSession:
    """A command that could not be started: the reason on stderr, and an exit code."""

    def __init__(self, message: str) -> None:
        self._message = message

    async def write(self, data: bytes) -> None:
        return

    async def close_stdin(self) -> None:
        return

    async def resize(self, width: int, height: int) -> None:
        return

    async def output(self) -> AsyncGenerator[Piece, None]:
        yield "stderr", self._message.encode() + b"\n"

    async def wait(self) -> int:
        missing = ("executable file not found", "no such file or directory")
        return _NOT_FOUND if any(words in self._message for words in missing) else _NOT_EXECUTABLE

    async def aclose(self) -> None:
        return


class EnginePort:
    """One connection to a port of a pod; see podbay.apiserver.streams.PortStream."""

    def __init__(self, duplex: Duplex, first: bytes) -> None:
        self._duplex = duplex
        self._first = first

    async def read(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        while (piece := await read_frame(self._duplex)) is not None:
            if piece[0] == "stdout":
                return piece[1]
        return b""

    async def write(self, data: bytes) -> None:
        await self._duplex.write(data)

    async def close_write(self) -> None:
        await self._duplex.close_write()

    async def aclose(self) -> None:
        await self._duplex.aclose()


async def execute(engine: Engine, container_id: str, spec: ExecSpec) -> EngineSession | FailedSession:
    """Run a command in a container. StartError when the container does not run."""
    body = {
        "Cmd": list(spec.command),
        "AttachStdin": spec.stdin,
        "AttachStdout": spec.stdout,
        "AttachStderr": spec.stderr and not spec.tty,
        "Tty": spec.tty,
        "DetachKeys": _DETACH_KEYS,
    }
    made = await engine.post(f"/containers/{container_id}/exec", body)
    if not made.ok:
        raise StartError("StartError", made.message)
    identity = made.json()["Id"]
    opened = await engine.hijack(f"/exec/{identity}/start", {"Detach": False, "Tty": spec.tty})
    if isinstance(opened, Answer):
        return FailedSession(opened.message)

    async def resize(width: int, height: int) -> None:
        await engine.post(f"/exec/{identity}/resize", query={"w": width, "h": height})

    async def inspect() -> dict[str, Any]:
        found: dict[str, Any] | None = await engine.find(f"/exec/{identity}/json")
        return found or {"Running": False, "ExitCode": _GONE, "Pid": 1}

    async def exit_code(ended: asyncio.Event) -> int:
        for number in range(1_000_000_000):
            state = await inspect()
            if not state.get("Running") and state.get("ExitCode") is not None:
                return int(state["ExitCode"])
            pause = _POLLS[min(number, len(_POLLS) - 1)]
            try:
                async with asyncio.timeout(pause):
                    # Its streams end a moment before the engine knows the exit code.
                    await (asyncio.sleep(pause) if ended.is_set() else ended.wait())
            except TimeoutError:
                pass
        return _GONE

    async def failed() -> bool:
        return not (await inspect()).get("Pid")

    return EngineSession(opened, tty=spec.tty, resize=resize, exit_code=exit_code, failed=failed)


async def attach(engine: Engine, pods: PodsOnEngine, container_id: str, spec: ExecSpec) -> EngineSession:
    """Join the streams of a container's first process. StartError when it does not run."""
    found = await pods.inspect(container_id)
    if found is None or not found["State"]["Running"]:
        raise StartError("StartError", f"container {container_id[:12]} is not running")
    wanted = {"stdin": spec.stdin, "stdout": spec.stdout, "stderr": spec.stderr}
    query = "&".join(["stream=1", *(f"{name}=1" for name, yes in wanted.items() if yes)])
    keys = _DETACH_KEYS.replace("^", "%5E").replace(",", "%2C").replace("@", "%40")
    opened = await engine.hijack(f"/containers/{container_id}/attach?{query}&detachKeys={keys}")
    if isinstance(opened, Answer):
        raise StartError("StartError", opened.message)

    async def resize(width: int, height: int) -> None:
        await engine.post(f"/containers/{container_id}/resize", query={"w": width, "h": height})

    async def exit_code(_ended: asyncio.Event) -> int:
        code = await pods.wait(container_id)
        return _GONE if code is None else code

    return EngineSession(opened, tty=bool(found["Config"].get("Tty")), resize=resize, exit_code=exit_code)


async def connect(engine: Engine, sandbox_id: str, port: int) -> EnginePort:
    """A connection to a port on the pod's loopback address, made by the keeper's program in the sandbox."""
    body = {
        "Cmd": [PROGRAM, "connect", str(port)],
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
    }
    made = await engine.post(f"/containers/{sandbox_id}/exec", body)
    opened: Duplex | Answer = made
    if made.ok:
        opened = await engine.hijack(f"/exec/{made.json()['Id']}/start", {"Detach": False})
    if isinstance(opened, Answer):
        raise RuntimeUnavailableError(f"the pod's sandbox {sandbox_id[:12]} does not run: {opened.message}")
    first = await read_frame(opened) or ("stdout", b"")
    if not first[1].startswith(b"+"):
        await opened.aclose()
        raise ConflictError(f"failed to connect to localhost:{port} inside the pod: connection refused")
    return EnginePort(opened, first[1][1:])


async def _plain(duplex: Duplex) -> AsyncGenerator[Piece, None]:
    while data := await duplex.read():
        yield "stdout", data
