"""Steps that must not be left half-way: a cancelled caller waits for their end before it goes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["finish"]

T = TypeVar("T")


async def finish(step: Coroutine[Any, Any, T]) -> T:
    """Run step to its end. When the caller is cancelled meanwhile, the cancellation is raised after the end.

    For short steps whose result must be noted (something was created); the step itself does the noting. An error of
    the step is lost when the caller was cancelled.
    """
    task = asyncio.ensure_future(step)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            # Unlike awaiting the task, this leaves it alone when the waiting ends.
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()
        raise cancelled
    return task.result()
