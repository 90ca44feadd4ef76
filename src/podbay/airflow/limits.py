"""How many pods of one DAG, task or process run at once (airflow.md T5).

The scheduler lets every task that starts in the triggerer go at once, whatever max_active_tasks and
max_active_tis_per_dag say. So a task waits here until there is room: counted are the tasks this process has let go and
the pods that others have on the cluster. The highest priority goes first. Two triggerers that let go at the same moment
may together exceed a limit by what each has let go; docs/limits.md says so.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["Limit", "Limiter", "Scope", "weight_of"]

Scope = tuple[str, ...]
"""What a limit counts: ("dag run", dag, run), ("task", dag, task), …"""

LOOK_AGAIN_SECONDS: Final = 2.0
"""While pods of others take the room: their end is no event of this process."""


@dataclass(frozen=True, slots=True)
class Limit:
    name: str
    """As the DAG says it, for the log."""
    scope: Scope
    most: int


@dataclass(order=True)
class _Waiting:
    rank: tuple[int, int]
    limits: Sequence[Limit] = field(compare=False)
    others: Callable[[Scope], int] = field(compare=False)
    admitted: asyncio.Future[None] = field(compare=False)


def weight_of(ti: Any, own: int) -> int:
    """The weight by which Airflow's scheduler orders a task instance: its task's `weight_rule` over the DAG. `own` is the
    task's own one, for where nothing better is known."""
    stored = getattr(ti, "priority_weight", None)
    if isinstance(stored, int):
        # What the database has; a trigger gets it with a task that a worker has begun.
        return stored
    try:
        return int(ti.task.weight_rule.get_weight(ti))
    except Exception:  # noqa: BLE001 - code of plugins, and no task is worth less for it
        return own


class Limiter:
    """Of one event loop."""

    def __init__(self) -> None:
        self._here: Counter[Scope] = Counter()
        self._waiting: list[_Waiting] = []
        self._numbers = itertools.count()
        self._looking: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def slot(
        self,
        limits: Sequence[Limit],
        *,
        priority: int,
        others: Callable[[Scope], int],
        waits: Callable[[Limit], None],
    ) -> AsyncIterator[None]:
        """Room for one task inside the block. `others` counts what other processes run; `waits` is told once."""
        await self._admission(limits, priority, others, waits)
        try:
            yield
        finally:
            self._here.subtract(limit.scope for limit in limits)
            self._here += Counter()
            self._pump()

    async def _admission(
        self,
        limits: Sequence[Limit],
        priority: int,
        others: Callable[[Scope], int],
        waits: Callable[[Limit], None],
    ) -> None:
        entry = _Waiting(
            (-priority, next(self._numbers)), limits, others, asyncio.get_running_loop().create_future()
        )
        self._waiting.append(entry)
        self._waiting.sort()
        self._pump()
        if not entry.admitted.done():
            waits(self._full(entry) or limits[0])
        try:
            await entry.admitted
        except asyncio.CancelledError:
            if entry.admitted.done() and not entry.admitted.cancelled():
                self._here.subtract(limit.scope for limit in limits)
            else:
                self._waiting.remove(entry)
            self._pump()
            raise

    def adopt(self, limits: Sequence[Limit]) -> None:
        """Count a task whose pod runs already; it does not wait. `slot` is not used for it; `leave` ends it."""
        self._here.update(limit.scope for limit in limits)

    def leave(self, limits: Sequence[Limit]) -> None:
        self._here.subtract(limit.scope for limit in limits)
        self._here += Counter()
        self._pump()

    def _full(self, entry: _Waiting) -> Limit | None:
        for limit in entry.limits:
            if self._here[limit.scope] + entry.others(limit.scope) >= limit.most:
                return limit
        return None

    def _pump(self) -> None:
        """Let go whoever has room, in order of rank; one that waits does not hold up those of other limits."""
        for entry in list(self._waiting):
            if not entry.admitted.done() and self._full(entry) is None:
                self._here.update(limit.scope for limit in entry.limits)
                self._waiting.remove(entry)
                entry.admitted.set_result(None)
        if self._waiting and self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(LOOK_AGAIN_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._looking = None
        self._pump()
