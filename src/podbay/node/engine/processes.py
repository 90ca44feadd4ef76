"""An engine's processes where it works on this very machine: what root here can do that the Engine API cannot.

Every step checks that the process is the one the engine means: with an engine in another process namespace its numbers
mean other processes here.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["kill_here", "network_namespace"]


def kill_here(pid: int, container_id: str) -> bool:
    """Kill a process of a container. False when that is not possible from here."""
    if not _is_of(pid, container_id):
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return True


def network_namespace(found: Mapping[str, Any]) -> Path | None:
    """The network namespace of an inspected container; None when it cannot be entered from here."""
    pid = int(found["State"].get("Pid") or 0)
    if os.geteuid() != 0 or pid <= 1 or not _is_of(pid, found["Id"]):
        return None
    return Path(f"/proc/{pid}/ns/net")


def _is_of(pid: int, container_id: str) -> bool:
    try:
        # Engines name control groups by the container.
        return container_id in Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False
