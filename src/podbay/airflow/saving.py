"""When what is known of a run is written down in Airflow while the run goes on. Pure."""

from __future__ import annotations

from typing import Final

from podbay.lifecycle.checkpoint import Checkpoint

__all__ = ["is_worth_saving", "seconds_between"]

SAVE_SECONDS: Final = 5.0
"""At least so long between two checkpoints; more when a process runs many tasks."""
CALLS_SHARE: Final = 5.0
"""Checkpoints a second of one process: a twelfth of what a triggerer's supervisor can answer (airflow.md T10)."""
QUIET_SECONDS: Final = 60.0
"""At least so long between two of a pod that says nothing: how much of its time it may get a second time."""
QUIET_SHARE: Final = 1.0
"""Such ones a second of one process, however many of its pods say nothing."""


def seconds_between(running: int) -> float:
    """Two looks whether there is something to be saved; so many tasks run in this process."""
    return max(SAVE_SECONDS, running / CALLS_SHARE)


def is_worth_saving(now: Checkpoint, last: Checkpoint | None, *, counts: bool, running: int) -> bool:
    """`last` was saved before; with `counts` nobody but the run knows how much of the task's time is over."""
    if not now.uid or now.outcome is not None:
        # Saved by the engine when it comes to that.
        return False
    if last is None or now.positions != last.positions:
        return True
    if now.elapsed - last.elapsed < max(QUIET_SECONDS, running / QUIET_SHARE):
        return False
    return counts or now.spent != last.spent
