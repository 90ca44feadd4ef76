"""What processes use: CPU of whole trees, exactly; memory, looked at once a second.

A tree's CPU is that of its living processes with what their waited-for children have left them, so a process that lives
for a tenth of a second counts in full. Memory is the sum of proportional sizes (PSS): pages that forks share count once.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

__all__ = ["MemoryWatch", "cpu_by_role"]

TICK = os.sysconf("SC_CLK_TCK")
LOOK_SECONDS = 1.0


def _stats() -> dict[int, tuple[int, float, float]]:
    """Of all processes: parent, own CPU seconds, those of children that have been waited for."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                own, waited = (sum(int(field) for field in fields[at : at + 2]) / TICK for at in (11, 13))
                found[int(entry.name)] = (int(fields[1]), own, waited)
    return found


def _roles(roots: dict[str, int], stats: dict[int, tuple[int, float, float]]) -> Iterator[tuple[int, str]]:
    """Each process of the trees and its role; what the scheduler has started are workers."""
    children = defaultdict(list)
    for pid, (parent, _, _) in stats.items():
        children[parent].append(pid)
    named = {pid: role for role, pid in roots.items()}
    waiting = [(pid, role) for role, pid in roots.items() if role in ("host", "cluster")]
    while waiting:
        pid, role = waiting.pop()
        if pid not in stats:
            continue
        yield pid, role
        inner = "workers" if role == "scheduler" else role
        waiting += [(child, named.get(child, inner)) for child in children[pid]]


def cpu_by_role(roots: dict[str, int]) -> dict[str, float]:
    """CPU seconds until now."""
    stats = _stats()
    found: dict[str, float] = defaultdict(float)
    for pid, role in _roles(roots, stats):
        _, own, waited = stats[pid]
        found[role] += own
        found["workers" if role == "scheduler" else role] += waited
    return dict(found)


def _pss(pid: int) -> float:
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


class MemoryWatch:
    """MiB by role: `first` at the start of the block, `most` at the moment when Airflow's sum was greatest."""

    def __init__(self, roots: dict[str, int]) -> None:
        self._roots = roots
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.first = self.most = self._look()
        self.cluster = self.first.get("cluster", 0.0)

    def _look(self) -> dict[str, float]:
        found: dict[str, float] = defaultdict(float)
        for pid, role in _roles(self._roots, _stats()):
            found[role] += _pss(pid)
        return dict(found)

    def _watch(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            now = self._look()
            self.cluster = max(self.cluster, now.get("cluster", 0.0))
            if airflow_sum(now) > airflow_sum(self.most):
                self.most = now

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()


def airflow_sum(by_role: dict[str, float]) -> float:
    return sum(value for role, value in by_role.items() if role != "cluster")
