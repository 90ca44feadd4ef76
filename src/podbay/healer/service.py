"""Round after round for ever, by whichever healer leads; a round that fails is told and the next one begins from now."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from podbay.aio.clock import Clock
from podbay.aio.tasks import TaskGroup
from podbay.errors import PodbayError
from podbay.healer.leader import Leader
from podbay.healer.metrics import Metrics
from podbay.healer.reconciler import Reconciler, Round

if TYPE_CHECKING:
    from podbay.healer.telemetry import Telemetry

__all__ = ["Service"]

_log = logging.getLogger("podbay.healer")
_COMPETE = 5.0
"""Seconds between two attempts at the lead (client-go: RetryPeriod 2, RenewDeadline 10, of 15)."""
_HANGS: Final = 1800.0
"""Seconds that no round takes: a thousand pages of a slow Airflow take minutes."""


class Service:
    """One process of the healer."""

    def __init__(
        self,
        reconciler: Reconciler,
        leader: Leader,
        clock: Clock,
        *,
        interval: float = 30.0,
        dry_run: bool = False,
        told: Callable[[Round], None] = lambda _: None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.metrics = Metrics()
        self._telemetry = telemetry
        self._reconciler, self._leader, self._clock = reconciler, leader, clock
        self._interval = interval
        self._dry_run = dry_run
        self._told = told
        self._alive_at = self._turned_at = clock.monotonic()
        self._stopped = ""
        self._left_open = ""

    def ailment(self) -> str:
        """What is wrong, for the health endpoint; empty when nothing is."""
        silent = self._clock.monotonic() - self._alive_at
        if silent > 3 * self._interval + 60:
            return f"no round for {silent:.0f} s"
        return self._stopped

    def hang(self) -> str:
        """That nothing goes on any more, for the liveness endpoint; empty while something does.

        A round that fails goes on too: what it fails for is not in this process.
        """
        silent = self._clock.monotonic() - self._turned_at
        return f"nothing for {silent:.0f} s" if silent > 3 * self._interval + _HANGS else ""

    async def run(self) -> None:
        """Until it is cancelled; gives the lead away then. Raises what rights the cluster denies it."""
        try:
            async with TaskGroup("healer") as group:
                group.start("rounds", self._rounds())
                while True:
                    # Beside the rounds: a long one must not cost the lead.
                    leads = await self._leader.compete()
                    self.metrics.put("podbay_healer_leading", float(leads))
                    await self._clock.sleep(_COMPETE)
        finally:
            await self._give_up()

    async def _rounds(self) -> None:
        while True:
            self._turned_at = self._clock.monotonic()
            if self._leader.leads:
                await self._round()
                await self._clock.sleep(self._interval)
            else:
                self._alive_at, self._stopped = self._clock.monotonic(), ""
                await self._clock.sleep(min(1.0, self._interval))

    async def _round(self) -> None:
        began = self._clock.now()
        try:
            last = await self._reconciler.round(dry_run=self._dry_run, may_act=lambda: self._leader.leads)
        except PodbayError as error:
            self.metrics.add("podbay_healer_rounds_total", result="failed")
            self._stopped = str(error)
            _log.warning("round failed: %s", error)
            if self._telemetry is not None:
                self._telemetry.failed(began, self._clock.now(), str(error))
            return
        self._alive_at = self._clock.monotonic()
        if last.decision.stopped and last.decision.stopped != self._stopped:
            _log.warning("held back: %s", last.decision.stopped)
        self._stopped = last.decision.stopped
        if last.decision.left_open and not self._left_open:
            # Once: the number of pods in it changes from round to round.
            _log.warning("left open: %s", last.decision.left_open)
        self._left_open = last.decision.left_open
        self.metrics.count(last)
        if self._telemetry is not None:
            self._telemetry.round(last, began, self._clock.now())
        self._told(last)

    async def _give_up(self) -> None:
        try:
            await self._leader.release()
        except PodbayError as error:
            _log.info("the lead could not be given away and ends by itself: %s", error)
