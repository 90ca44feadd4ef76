"""Turns at the slots: everybody comes to read, however many wait and however long the queue of openings is."""

from __future__ import annotations

import asyncio

import pytest
from patience import eventually

from podbay.aio.clock import SystemClock
from podbay.aio.tasks import TaskGroup
from podbay.kube import log_slots
from podbay.kube.log_slots import LogSlots


async def test_nobody_is_sent_away_before_having_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    # As with 512 slots and 1000 containers: opening all slots takes longer than a holder is left alone.
    monkeypatch.setattr(log_slots, "HOLD_SECONDS", 0.05)
    monkeypatch.setattr(log_slots, "OPEN_INTERVAL", 0.005)
    slots, followers = LogSlots(SystemClock(), streams=30), 90
    opened = [0] * followers
    wasted = 0

    async def follow(number: int) -> None:
        nonlocal wasted
        while True:
            async with slots.slot() as slot:
                wasted += slot.revoked
                try:
                    async with slot.revocable():
                        await asyncio.sleep(0)
                        opened[number] += 1
                        await asyncio.Event().wait()
                except TimeoutError:
                    pass

    async with TaskGroup("test") as group:
        for number in range(followers):
            group.start(str(number), follow(number))
        await eventually(lambda: min(opened) >= 2)
    assert wasted == 0
    assert slots.in_use == 0
