"""The container runtime of a cluster's node: chosen at the first start, kept from then on, emptied by reset."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from podbay.aio.clock import Clock

if TYPE_CHECKING:
    from podbay.node.agent import NodeAgent
    from podbay.node.runtime import Runtime

__all__ = ["RuntimeChoice", "container_agent", "remove_containers", "runtime_available"]

RuntimeChoice: TypeAlias = Literal["auto", "docker", "runc"]

_KEPT = "runtime-name"
"""File that says which runtime has the node's containers: an engine that is started later must not hide them."""


def runtime_available() -> bool:
    """Whether runc can be used here without any engine: Linux, root, runc and conmon."""
    found = all(shutil.which(name) is not None for name in ("runc", "conmon"))
    return sys.platform == "linux" and os.geteuid() == 0 and found


def container_agent(name: str, storage: Path | None, choice: RuntimeChoice = "auto") -> NodeAgent:
    """A node agent that keeps its data in storage; without one it leaves nothing behind.

    Its `run` raises RuntimeUnavailableError, with what to install, when there is no container runtime.
    """
    from podbay.node.agent import AgentOptions, NodeAgent

    @asynccontextmanager
    async def open_runtime(base: Path, _clock: Clock) -> AsyncIterator[Runtime]:
        async with _open(base, choice, storage) as runtime:
            yield runtime

    return NodeAgent(AgentOptions(name=name, storage=storage, runtime=open_runtime))


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
    async with _open(storage / "runtime", choice, storage) as runtime:
        await runtime.reset()
