"""A cluster that is not reached any more while a pod runs there: told once when it lasts, once when it is over, and at the end.

A run that has a pod waits for its cluster until its own deadline: the pod may well go on. Who reads the log must know that
nothing else is known meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from podbay.aio.clock import Clock
from podbay.errors import PodbayError
from podbay.kube.store import SharedStore
from podbay.lifecycle.outcome import Outcome

__all__ = ["Outage"]

LOOK_SECONDS: Final = 15.0
LASTS_SECONDS: Final = 60.0
"""Shorter ones are restarts of an API server."""
_ENDED_BLINDLY: Final = ("timed_out", "killed")


class Outage:
    """Of one run."""

    def __init__(self, clock: Clock, tell: Callable[[str], Awaitable[None]]) -> None:
        self._clock = clock
        self._tell = tell
        self._store: SharedStore | None = None
        self._first: PodbayError | None = None

    def begins(self, trouble: PodbayError) -> None:
        """There has been no watch yet that could tell of it."""
        self._first = trouble

    async def watch(self, store: SharedStore) -> None:
        """For good; the run ends it."""
        self._store = store
        since: float | None = None
        told = False
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            trouble, now = store.trouble_now, self._clock.monotonic()
            if trouble is None:
                if told:
                    await self._tell("the cluster is reached again")
                since, told = None, False
                continue
            since = now if since is None else since
            if not told and now - since >= LASTS_SECONDS:
                told = True
                await self._tell(f"{_why(trouble)} It is waited for; the pod may go on meanwhile")

    def at_end(self, outcome: Outcome) -> Outcome:
        """The outcome, with a sentence where the pod's end could not be brought about."""
        trouble = self._store.trouble_now if self._store is not None else self._first
        if trouble is None or outcome.kind not in _ENDED_BLINDLY:
            return outcome
        message = f"{outcome.message.rstrip('.')}. {_why(trouble)} The pod may still be there, and go on."
        return replace(outcome, message=message)


def _why(trouble: PodbayError) -> str:
    return f"Its cluster is not reached: {str(trouble).rstrip('.')}."
