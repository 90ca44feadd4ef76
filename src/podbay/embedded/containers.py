"""Choosing the container runtime of a cluster's node, and where it keeps its data."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from podbay.aio.clock import Clock, SystemClock
from podbay.errors import RuntimeUnavailableError

if TYPE_CHECKING:
    from podbay.node.agent import NodeAgent
    from podbay.node.runtime import Runtime

__all__ = ["RuntimeChoice", "check_runtime", "container_agent", "remove_containers", "runtime_available"]

RuntimeChoice: TypeAlias = Literal["auto", "runc"]

_PACKAGES = "apt-get install runc conmon"


def runtime_available() -> bool:
    """Whether a container runtime can be used here: runc and conmon, as root on Linux."""
    return not _missing()


def check_runtime() -> None:
    """Raises RuntimeUnavailableError with the fix when no container runtime can be used here."""
    if problem := _missing():
        raise RuntimeUnavailableError(problem)


def _missing() -> str:
    """What stands in the way, as a sentence with the fix; empty when nothing does."""
    if sys.platform != "linux":
        return "containers need Linux: run the cluster in a Linux machine"
    if os.geteuid() != 0:
        return "running pods as containers needs root here: run the command with sudo"
    absent = [name for name in ("runc", "conmon") if shutil.which(name) is None]
    return f"{' and '.join(absent)} not found: install with `{_PACKAGES}`" if absent else ""


def container_agent(name: str, storage: Path | None, choice: RuntimeChoice = "auto") -> NodeAgent:
    """A node agent that keeps its data in storage; without one it leaves nothing behind.

    Raises RuntimeUnavailableError naming the package to install.
    """
    from podbay.node.agent import AgentOptions, NodeAgent

    check_runtime()
    return NodeAgent(AgentOptions(name=name, storage=storage, runtime=_open_runc))


def _open_runc(base: Path, clock: Clock) -> AbstractAsyncContextManager[Runtime]:
    from podbay.node.runc.runtime import RuncRuntime

    return RuncRuntime(base, clock=clock)


async def remove_containers(storage: Path) -> None:
    """End and remove every container, sandbox and volume that a stopped agent left in storage."""
    base = storage / "runtime"
    if not base.is_dir():
        return
    async with _open_runc(base, SystemClock()) as runtime:
        await runtime.reset()
