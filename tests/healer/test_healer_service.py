"""What the service says of its rounds, and of itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, cast

import pytest

from podbay.aio.clock import SystemClock
from podbay.errors import PodbayError
from podbay.healer.decide import Decision
from podbay.healer.leader import Leader
from podbay.healer.reconciler import Reconciler, Round
from podbay.healer.service import Service


class Rounds:
    """In place of a reconciler: one result after the other, the last one for ever."""

    def __init__(self, results: Iterable[Decision | PodbayError]) -> None:
        self._results = list(results)
        self.over = asyncio.Event()

    async def round(self, **_: Any) -> Round:
        result = self._results.pop(0) if len(self._results) > 1 else self._results[0]
        if len(self._results) == 1:
            self.over.set()
        if isinstance(result, PodbayError):
            raise result
        return Round(decision=result, done=(), pods=1, seconds=0.1)


class Alone:
    """In place of a leader: there is no other."""

    leads = True

    async def compete(self) -> bool:
        return True

    async def release(self) -> None:
        pass


async def serve(*results: Decision | PodbayError) -> Service:
    """As a service is after these rounds."""
    rounds = Rounds([*results, Decision()])
    service = Service(cast(Reconciler, rounds), cast(Leader, Alone()), SystemClock(), interval=0.001)
    running = asyncio.create_task(service.run())
    async with asyncio.timeout(10):
        await rounds.over.wait()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    return service


async def test_what_was_left_open_is_said_once_and_is_no_ailment(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    ill = Decision(stopped="no answer")
    await serve(*[Decision(left_open=f"{n} pods are not judged") for n in (2, 2, 3)], Decision(), ill, ill)
    said = [each.getMessage() for each in caplog.records if each.name == "podbay.healer"]
    assert said == ["left open: 2 pods are not judged", "held back: no answer"]
