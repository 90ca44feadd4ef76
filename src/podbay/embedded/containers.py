"""The container runtime of a cluster's node: chosen at the first start, kept from then on, emptied by reset.

An ordinary user's cluster uses runc as root of a user namespace (node/runc/rootless.py): its process is run again in
there. Run as a program with a node's directory, this module empties it, for a reset from outside of the namespace.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from podbay.aio.clock import Clock
from podbay.errors import StateError
from podbay.node.trees import remove_tree

if TYPE_CHECKING:
    from podbay.node.agent import NodeAgent
    from podbay.node.provider_config import Provider
    from podbay.node.runtime import Runtime

__all__ = [
    "RuntimeChoice",
    "as_root_of_namespace",
    "container_agent",
    "remove_containers",
    "runtime_available",
]

RuntimeChoice: TypeAlias = Literal["auto", "docker", "runc"]

_KEPT = "runtime-name"
"""File that says which runtime has the node's containers: an engine that is started later must not hide them."""


def runtime_available() -> bool:
    """Whether runc can be used here without any engine: Linux, root, runc and conmon."""
    found = all(shutil.which(name) is not None for name in ("runc", "conmon"))
    return sys.platform == "linux" and os.geteuid() == 0 and found


async def as_root_of_namespace(
    storage: Path, choice: RuntimeChoice, command: Sequence[str]
) -> list[str] | None:
    """The command line that runs command where it may use runc; None when it may here, or is to use an engine.

    storage is the node's directory. RuntimeUnavailableError when ordinary users may not on this machine.
    """
    from podbay.node.choose import comes_to_runc
    from podbay.node.runc.rootless import command_as_root

    if sys.platform != "linux" or os.geteuid() == 0:
        return None
    if choice == "auto":
        choice = _kept_choice(storage / _KEPT) or choice
    if not await comes_to_runc(choice, environment=os.environ, home=Path.home()):
        return None
    return await asyncio.to_thread(command_as_root, storage, command)


def container_agent(
    name: str,
    storage: Path | None,
    choice: RuntimeChoice = "auto",
    providers: Sequence[tuple[Provider, Path]] = (),
) -> NodeAgent:
    """A node agent that keeps its data in storage; without one it leaves nothing behind.

    Its `run` raises RuntimeUnavailableError, with what to install, when there is no container runtime.
    """
    from podbay.node.agent import AgentOptions, NodeAgent

    @asynccontextmanager
    async def open_runtime(base: Path, _clock: Clock) -> AsyncIterator[Runtime]:
        async with _open(base, choice, storage) as runtime:
            yield runtime

    return NodeAgent(AgentOptions(name=name, storage=storage, runtime=open_runtime, providers=providers))


@asynccontextmanager
async def _open(base: Path, choice: RuntimeChoice, storage: Path | None) -> AsyncIterator[Runtime]:
    from podbay.node.choose import choose_runtime

    kept = base.parent / _KEPT
    if choice == "auto" and storage is not None:
        choice = _kept_choice(kept) or choice
    chosen = await choose_runtime(
        choice, node=_node_id(storage), directory=base, environment=os.environ, home=Path.home()
    )
    async with chosen as runtime:
        kept.write_text("runc" if (await runtime.info()).name == "runc" else "docker")
        yield runtime


def _kept_choice(path: Path) -> RuntimeChoice | None:
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        return None
    return "runc" if text == "runc" else "docker" if text == "docker" else None


def _node_id(storage: Path | None) -> str:
    """What tells the containers of this node on an engine from those of other clusters."""
    if storage is None:
        return f"podbay-{uuid.uuid4().hex[:10]}"
    return f"podbay-{hashlib.sha256(str(storage.resolve()).encode()).hexdigest()[:10]}"


async def remove_containers(storage: Path) -> None:
    """End and remove every container, sandbox and volume that a stopped agent left, wherever it ran them.

    Raises RuntimeUnavailableError when the engine that has them does not answer.
    """
    choice = _kept_choice(storage / _KEPT)
    if choice is None:
        return
    if choice == "runc" and os.geteuid() != 0:
        await _remove_as_root_of_namespace(storage)
        return
    async with _open(storage / "runtime", choice, storage) as runtime:
        await runtime.reset()


async def _remove_as_root_of_namespace(storage: Path) -> None:
    """Have another process do it where the files of all containers' users belong to it."""
    from podbay.node.runc.rootless import command_as_root, end_holder

    command = [sys.executable, "-m", "podbay.embedded.containers", str(storage)]
    process = await asyncio.create_subprocess_exec(
        *await asyncio.to_thread(command_as_root, storage, command), stderr=asyncio.subprocess.PIPE
    )
    _, complaint = await process.communicate()
    if process.returncode != 0:
        lines = complaint.decode(errors="replace").strip().splitlines() or ["(it said nothing)"]
        raise StateError(f"cannot remove the containers in {storage}: {lines[-1]}")
    end_holder(storage)


def _empty(storage: Path) -> None:
    asyncio.run(remove_containers(storage))
    remove_tree(storage / "runtime")


if __name__ == "__main__":
    _empty(Path(sys.argv[1]))
