"""Waiting in tests: for a condition, never for a time, and longer than any machine needs.

A time-out is there to name what never comes. It costs nothing while the test passes, so it may be long; what the tests
measure is never how fast this machine is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["PATIENCE", "eventually", "until"]

T = TypeVar("T")

PATIENCE = 120.0
"""Seconds after which something is not coming any more."""


def until(
    condition: Callable[[], T], *, seconds: float = PATIENCE, tell: Callable[[], object] | None = None
) -> T:
    """The first true answer of condition. tell gives what a failure shows, else the last answer is."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain: {tell() if tell is not None else found!r}"
        time.sleep(0.02)
    return found


async def eventually(
    condition: Callable[[], T], *, seconds: float = PATIENCE, tell: Callable[[], object] | None = None
) -> T:
    """`until` for tests that run on the event loop they wait for."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain: {tell() if tell is not None else found!r}"
        await asyncio.sleep(0.005)
    return found
