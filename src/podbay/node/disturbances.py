"""Faults that a node plays on request: image pulls that fail or crawl, containers killed as if out of memory.

Declared through embedded/node_faults.py; a node that nobody disturbs goes through here untouched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from podbay.aio.clock import Clock
from podbay.errors import PullError
from podbay.node.observed import ContainerStatus, Image, SandboxStatus
from podbay.node.runtime import Images
from podbay.node.specs import RegistryAuth

__all__ = ["Disturbances", "PullFault"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PullFault:
    """What happens to pulls of matching images (a glob over the reference as people write it).

    delay is in seconds; {image} in message stands for the reference; an empty message lets the pull go through after it. count None: until lifted.
    """

    image: str
    delay: float = 0.0
    message: str = ""
    reason: str = "ErrImagePull"
    count: int | None = None


class Disturbances:
    """The faults of one node."""

    def __init__(self) -> None:
        self.pulls: list[PullFault] = []
        self._out_of_memory: set[str] = set()

    def images(self, inner: Images, clock: Clock) -> Images:
        """The runtime's images with the declared pull faults in front."""
        return _DisturbedImages(inner, self, clock)

    def blame_memory(self, container_id: str) -> None:
        """The next end of this container counts as a kill by the out-of-memory killer."""
        self._out_of_memory.add(container_id)

    def seen(self, item: ContainerStatus | SandboxStatus) -> ContainerStatus | SandboxStatus:
        """A state as the agent is to see it."""
        if isinstance(item, ContainerStatus) and item.id in self._out_of_memory and item.finished_ns:
            return replace(item, oom_killed=True)
        return item

    def take_pull(self, reference: str) -> PullFault | None:
        """The fault that hits this pull, counted as used."""
        for i, fault in enumerate(self.pulls):
            if fnmatchcase(reference, fault.image):
                if fault.count is not None:
                    if fault.count == 1:
                        del self.pulls[i]
                    else:
                        self.pulls[i] = replace(fault, count=fault.count - 1)
                return fault
        return None


class _DisturbedImages:
    """`Images` whose pulls, and look-ups of images that are to be missing, meet the faults."""

    def __init__(self, inner: Images, faults: Disturbances, clock: Clock) -> None:
        self._inner, self._faults, self._clock = inner, faults, clock

    async def images(self) -> Sequence[Image]:
        return await self._inner.images()

    async def find_image(self, reference: str) -> Image | None:
        # An image that is here already would never be pulled, and the fault never met.
        if any(fnmatchcase(reference, fault.image) for fault in self._faults.pulls):
            return None
        return await self._inner.find_image(reference)

    async def pull_image(self, reference: str, auth: RegistryAuth | None = None) -> Image:
        fault = self._faults.take_pull(reference)
        if fault is not None:
            await self._clock.sleep(fault.delay)
            if fault.message:
                raise PullError(fault.reason, fault.message.replace("{image}", reference))
            present = await self._inner.find_image(reference)
            if present is not None:
                return present
        return await self._inner.pull_image(reference, auth)

    async def load_images(self, archive: Path) -> Sequence[Image]:
        return await self._inner.load_images(archive)

    async def remove_image(self, image_id: str) -> None:
        await self._inner.remove_image(image_id)
