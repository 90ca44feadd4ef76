"""A pod's volumes on the way to its containers: tried again with growing pauses while something is missing.

Source: pkg/kubelet/volumemanager/reconciler, pkg/volume/util/nestedpendingoperations (back-off 0.5 s to 2 min 2 s).
"""

from __future__ import annotations

from podbay.errors import StartError
from podbay.node.parts import NodeParts
from podbay.node.record import PodRecord
from podbay.node.references import read_objects
from podbay.node.volumes.keeper import Prepared

__all__ = ["PodMounts"]

_FIRST_RETRY_SECONDS = 0.3
"""The kubelet sets volumes up a few tenths of a second after a pod appears; what comes meanwhile was never missing."""
_INITIAL_SECONDS, _MAXIMUM_SECONDS = 0.5, 122.0


class PodMounts:
    """State of one pod's volumes."""

    def __init__(self, parts: NodeParts, record: PodRecord) -> None:
        self._parts, self._record = parts, record
        self._prepared: Prepared | None = None
        self._made = False
        self._failures = 0
        self._retry_at = 0.0

    def next_look(self) -> float | None:
        """Seconds until the next try; None when none is due."""
        left = self._retry_at - self._parts.clock.monotonic()
        return left if self._retry_at and left > 0 else None

    def retry_now(self) -> None:
        """Something the pod names changed."""
        self._retry_at = 0.0

    async def look(self) -> bool:
        """Whether everything the volumes need is there; reports what is not."""
        if self._prepared is not None:
            return True
        if self.next_look() is not None:
            return False
        objects = await read_objects(self._parts.api, self._record.pod)
        prepared = await self._parts.volumes.look(self._record.pod, objects)
        if prepared.failures:
            self._failed([failure.text for failure in prepared.failures])
            return False
        self._prepared = prepared
        self._retry_at = 0.0
        return True

    async def make(self) -> None:
        """Create what was looked at. StartError after having reported it."""
        assert self._prepared is not None
        try:
            await self._parts.volumes.make(self._prepared)
        except StartError as error:
            self._failed([str(error)], quiet=False)
            self._prepared = None
            raise
        self._made = True
        self._failures = 0

    async def ready(self) -> Prepared | None:
        """The volumes, made; None while something is missing. After a restart of the agent they are looked at anew."""
        if self._made:
            return self._prepared
        if not await self.look():
            return None
        try:
            await self.make()
        except StartError:
            return None
        return self._prepared

    def _failed(self, texts: list[str], *, quiet: bool = True) -> None:
        now = self._parts.clock.monotonic()
        if quiet and self._failures == 0:
            self._failures = 1
            self._retry_at = now + _FIRST_RETRY_SECONDS
            return
        for text in texts:
            self._parts.recorder.pod(self._record.pod, "Warning", "FailedMount", text)
        delay = min(_INITIAL_SECONDS * 2 ** max(0, self._failures - 1), _MAXIMUM_SECONDS)
        self._failures += 1
        self._retry_at = now + delay
