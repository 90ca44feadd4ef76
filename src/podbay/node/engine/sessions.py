"""Exec, attach and connections to ports: the engine's taken-over connections as the agent's streams."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from podbay.errors import ConflictError, RuntimeUnavailableError, StartError
from podbay.node.engine.api import Answer, Engine
from podbay.node.engine.hijack import Duplex, Piece, read_frame
from podbay.node.engine.keeper import Keeper
from podbay.node.engine.keeper_image import PROGRAM
from podbay.node.engine.pods import PodsOnEngine
from podbay.node.engine.processes import kill_here
from podbay.node.engine.status import start_message
from podbay.node.specs import ExecSpec

__all__ = ["EnginePort", "EngineSession", "attach", "connect", "execute"]

_DETACH_KEYS = "ctrl-^,ctrl-@,ctrl-^,ctrl-@,ctrl-_"
"""Engines hang up a terminal on a key sequence, by default one that shells use. Nobody types this."""
_START_POLLS = (0.01, 0.01, 0.02, 0.02, 0.05)
"""Seconds between questions whether a command has begun; the last one repeats."""
_POLLS = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Seconds between questions whether a command has ended; the last one repeats."""
_NOT_STARTED = (126, 127)
"""Exit codes of commands that could not be started, and of shells that could not find one."""
_KILLED = 137
"""Exit code of what was removed while somebody waited for it."""
_ENGINE_WORDS = re.compile(r"^(?:Error: )?((?:OCI runtime exec failed: |runc: |crun: ).*)$", re.MULTILINE)
"""What an engine itself writes to the streams of a command that it could not start."""
_END_OF_INPUT = b"\x04"


class EngineSession:
    """A running exec or attach; see podbay.apiserver.streams.ExecSession."""

    def __init__(
        self,
        duplex: Duplex,
        *,
        tty: bool,
        resize: Callable[[int, int], Awaitable[object]],
        exit_code: Callable[[asyncio.Event], Awaitable[int]],
        end: Callable[[], Awaitable[None]] | None = None,
        first: Sequence[Piece] = (),
    ) -> None:
        self._duplex = duplex
        self._tty = tty
        self._resize = resize
        self._exit_code = exit_code
        self._end = end
        self._first = first
        self._ended = asyncio.Event()
        self._line_begun = False

    async def write(self, data: bytes) -> None:
        if data:
            self._line_begun = not data.endswith((b"\n", b"\r", _END_OF_INPUT))
        await self._duplex.write(data)

    async def close_stdin(self) -> None:
        if self._tty:
            # A terminal has no half-close: the control character ends the input, the first one only the line.
            await self._duplex.write(_END_OF_INPUT * (2 if self._line_begun else 1))
        else:
            await self._duplex.close_write()

    async def resize(self, width: int, height: int) -> None:
        if self._tty:
            await self._resize(width, height)

    async def output(self) -> AsyncGenerator[Piece, None]:
        try:
            for piece in self._first:
                yield piece
            async for piece in _pieces(self._duplex, tty=self._tty):
                yield piece
        finally:
            self._ended.set()

    async def wait(self) -> int:
        return await self._exit_code(self._ended)

    async def aclose(self) -> None:
        self._ended.set()
        try:
            if self._end is not None:
                await self._end()
        finally:
            await self._duplex.aclose()


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


class _Exec:
    """One command that the engine runs in a container."""

    def __init__(self, engine: Engine, keeper: Keeper, container_id: str, identity: str) -> None:
        self._engine = engine
        self._keeper = keeper
        self._container_id = container_id
        self._identity = identity
        self._code: int | None = None

    async def decided(self) -> dict[str, Any]:
        """Its state once it runs, or has ended, or could not be started."""
        for number in itertools.count():
            state = await self._inspect()
            # Docker has no exit code before the end; Podman has 0 and says that it could be removed at the end.
            # A command "runs" while it is being started, but has no process yet.
            if (state.get("Running") and state.get("Pid")) or self._ended(state):
                return state
            await asyncio.sleep(_START_POLLS[min(number, len(_START_POLLS) - 1)])
        raise AssertionError

    def _ended(self, state: Mapping[str, Any]) -> bool:
        if state.get("Running"):
            return False
        return bool(state.get("CanRemove")) if self._engine.podman else state.get("ExitCode") is not None

    async def _inspect(self) -> dict[str, Any]:
        found: dict[str, Any] | None = await self._engine.find(f"/exec/{self._identity}/json")
        return found or {"Running": False, "ExitCode": _KILLED, "CanRemove": True, "Pid": 1}

    async def exit_code(self, ended: asyncio.Event) -> int:
        """Wait for its end. ended: its streams have ended, which comes just before."""
        for number in itertools.count():
            state = await self._inspect()
            if self._ended(state):
                self._code = int(state["ExitCode"])
                return self._code
            pause = _POLLS[min(number, len(_POLLS) - 1)]
            if ended.is_set():
                await asyncio.sleep(min(pause, 0.1))
                continue
            try:
                async with asyncio.timeout(pause):
                    await ended.wait()
            except TimeoutError:
                pass
        raise AssertionError

    async def resize(self, width: int, height: int) -> None:
        await self._engine.post(f"/exec/{self._identity}/resize", query={"w": width, "h": height})

    async def end(self) -> None:
        """Kill it if it still runs. The engine has no call for that."""
        if self._code is not None:
            return
        state = await self._inspect()
        pid = int(state.get("Pid") or 0)
        if not state.get("Running") or pid <= 1:
            return
        if not kill_here(pid, self._container_id):
            await self._keeper.kill_process(pid)


async def execute(engine: Engine, keeper: Keeper, container_id: str, spec: ExecSpec) -> EngineSession:
    """Run a command in a container. StartError when the container does not run, or the command cannot."""
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
    run = _Exec(engine, keeper, container_id, made.json()["Id"])
    opened = await engine.hijack(f"/exec/{made.json()['Id']}/start", {"Detach": False, "Tty": spec.tty})
    if isinstance(opened, Answer):
        raise StartError("StartError", start_message(opened.message))
    try:
        state = await run.decided()
        first: list[Piece] = []
        if not state.get("Running") and state.get("ExitCode") in _NOT_STARTED:
            first = [piece async for piece in _pieces(opened, tty=spec.tty)]
            _refuse_unstarted(first)
    except BaseException:
        await opened.aclose()
        raise
    return EngineSession(
        opened, tty=spec.tty, resize=run.resize, exit_code=run.exit_code, end=run.end, first=first
    )


def _refuse_unstarted(pieces: Sequence[Piece]) -> None:
    """StartError when the output is the engine's own words on a command that it could not start."""
    text = b"".join(data for _, data in pieces).decode(errors="replace")
    if found := _ENGINE_WORDS.search(text):
        raise StartError("StartError", start_message(found[1]))


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
        return _KILLED if code is None else code

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


async def _pieces(duplex: Duplex, *, tty: bool) -> AsyncGenerator[Piece, None]:
    if tty:
        while data := await duplex.read():
            yield "stdout", data
    else:
        while (piece := await read_frame(duplex)) is not None:
            yield piece
