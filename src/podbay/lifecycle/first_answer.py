"""A cluster's first answer to a run, and how long a run waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from podbay.aio.clock import Clock
from podbay.errors import PodbayError
from podbay.kube.store import SharedStore

__all__ = ["FIRST_ANSWER_SECONDS", "first_answer", "patience"]

FIRST_ANSWER_SECONDS: Final = 15.0
"""As long as a cluster has never answered, a wrong address is likelier than an outage."""
OUTAGE_SECONDS: Final = 120.0
"""A control plane that is updated is away for a minute or two."""
LOOK_SECONDS: Final = 15.0
"""Between two looks at what stands in the way."""
REFUSED_LOOK_SECONDS: Final = 1.0


def patience(*, answered: bool, never: float | None = None) -> float:
    """Seconds that a run without a pod waits; `never`: for a cluster that has not answered before, else the usual."""
    if answered:
        return OUTAGE_SECONDS
    return FIRST_ANSWER_SECONDS if never is None else never


async def first_answer(
    store: SharedStore,
    clock: Clock,
    *,
    is_enough: Callable[[float], bool],
    tell: Callable[[str], Awaitable[None]],
    bears: float = 0.0,
) -> None:
    """Wait until the store knows the cluster's state. `is_enough` judges the seconds waited; `tell` hears what is new.

    Raises what stands in the way when it is enough, and what waiting does not help (no access, no credential) once it has
    lasted for `bears` seconds.
    """
    began, told = clock.monotonic(), ""
    refused: float | None = None
    while True:
        try:
            return await asyncio.wait_for(store.wait_synced(), LOOK_SECONDS)
        except TimeoutError:
            trouble, refused = store.trouble_now, None
        except PodbayError as error:
            refused = clock.monotonic() if refused is None else refused
            if clock.monotonic() - refused >= bears:
                raise
            trouble = error
            await clock.sleep(REFUSED_LOOK_SECONDS)
        if trouble is None:
            continue
        if is_enough(clock.monotonic() - began):
            raise trouble
        if str(trouble) != told:
            told = str(trouble)
            await tell(f"waiting for the cluster: {trouble}")
