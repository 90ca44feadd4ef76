"""Run several coroutines until the first one ends; the others never outlive it.

For a few short-lived companions inside one request; services that live on belong into `aio.tasks`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["race"]

T = TypeVar("T")


async def race(*contenders: Coroutine[Any, Any, T]) -> T:
    """The result (or error) of the first to end; the earlier argument wins when two end at once.

    All others have been cancelled and have ended when this returns or is cancelled itself.
    """
    tasks = [asyncio.ensure_future(contender) for contender in contenders]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        winner = next(task for task in tasks if task.done())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return winner.result()
