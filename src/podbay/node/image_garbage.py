"""Removes images that no container uses when the disk is nearly full, those first that were not used for longest.

Only of a store of our own: an engine's images are people's own. Images that came from an archive stay, for no registry
gives them back. The limits are higher than a kubelet's (85 and 80 per cent), because the disk is somebody's machine.
Source: pkg/kubelet/images/image_gc_manager.go.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from podbay.aio.clock import Clock
from podbay.errors import ConflictError, PodbayError
from podbay.node.observed import Image
from podbay.node.recorder import EventRecorder
from podbay.node.runtime import Images, Pods

__all__ = ["ImageGarbage", "Space", "bytes_to_free", "disk_space"]

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 300.0
HIGH_PERCENT = 95
LOW_PERCENT = 90
MIN_AGE_SECONDS = 120.0
"""An image that has just come is about to be used."""


@dataclass(frozen=True, slots=True)
class Space:
    """Of a file system, in bytes."""

    capacity: int
    available: int


def disk_space(path: Path) -> Space:
    """Where path lies, as an ordinary process sees it."""
    found = os.statvfs(path)
    return Space(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)


def bytes_to_free(space: Space) -> int:
    """What is to go: nothing below the high limit, at and above it all down to the low one."""
    if space.capacity <= 0 or (space.capacity - space.available) * 100 < space.capacity * HIGH_PERCENT:
        return 0
    return space.capacity * (100 - LOW_PERCENT) // 100 - space.available


class _Store(Images, Pods, Protocol):
    """The part of a runtime that this needs."""


class ImageGarbage:
    """One node's. Remembers when images were last used, from the first look on."""

    def __init__(
        self, runtime: _Store, clock: Clock, recorder: EventRecorder, space: Callable[[], Space]
    ) -> None:
        self._runtime, self._clock, self._recorder, self._space = runtime, clock, recorder, space
        self._seen: dict[str, float] = {}
        self._used: dict[str, float] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self.look()
            except (PodbayError, OSError) as error:
                log.warning("looking for images to remove: %s", error)
            await self._clock.sleep(INTERVAL_SECONDS)

    async def look(self) -> None:
        """Note which images are in use; remove some if the disk is full."""
        now = self._clock.monotonic()
        images = await self._runtime.images()
        in_use = {container.image_id for container in (await self._runtime.list()).containers}
        present = {image.id for image in images}
        for known in (self._seen, self._used):
            for gone in known.keys() - present:
                del known[gone]
        for identity in present:
            self._seen.setdefault(identity, now)
            if identity in in_use:
                self._used[identity] = now
        wanted = bytes_to_free(self._space())
        if wanted > 0:
            await self._free(wanted, [image for image in images if image.id not in in_use], now)

    async def _free(self, wanted: int, unused: Sequence[Image], now: float) -> None:
        freed = 0
        for image in sorted(unused, key=lambda i: (self._used.get(i.id, 0.0), self._seen[i.id])):
            if freed >= wanted:
                return
            if image.loaded or now - self._seen[image.id] < MIN_AGE_SECONDS:
                continue
            try:
                await self._runtime.remove_image(image.id)
            except ConflictError:
                # A container has come meanwhile.
                continue
            log.info("removed image %s: the disk is nearly full", image.tags[0] if image.tags else image.id)
            freed += image.size
        if freed < wanted:
            text = (
                "Failed to garbage collect required amount of images. "
                f"Attempted to free {wanted} bytes, but only found {freed} bytes eligible to free."
            )
            self._recorder.node("Warning", "FreeDiskSpaceFailed", text)
