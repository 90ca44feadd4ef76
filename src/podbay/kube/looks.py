"""How often the pods of one process may ask what hinders them, for a cluster without room must not be asked by them all.

The events of one waiting pod are worth a request, those of a thousand pods that wait for the same room are not; and the
API server reads all events of a namespace to find those of one pod. The nodes, of which every pod that has none wants
to know, are read once for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from podbay.aio.clock import Clock
from podbay.kube.client import KubeClient
from podbay.objects.meta import Object
from podbay.objects.resource import GVR

__all__ = ["Looks"]

NODES: Final = GVR("", "v1", "nodes")
BURST: Final = 20
PER_SECOND: Final = 2.0
NODES_SECONDS: Final = 10.0
"""How old the nodes may be; what becomes of them is told by the pod's own status."""
NODES_SHOWN: Final = 200
"""To a diagnosis."""


class Looks:
    """Of one process at one cluster."""

    def __init__(self, client: KubeClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._tokens = float(BURST)
        self._filled = clock.monotonic()
        self._lock = asyncio.Lock()
        self._nodes: Sequence[Object] = ()
        self._read_at: float | None = None

    def take(self) -> bool:
        """Whether a look that nobody needs may be made now."""
        now = self._clock.monotonic()
        self._tokens = min(BURST, self._tokens + (now - self._filled) * PER_SECOND)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def nodes(self) -> Sequence[Object]:
        """Some of all nodes, as they were at most ten seconds ago. Raises what a list raises."""
        async with self._lock:
            if self._read_at is None or self._clock.monotonic() - self._read_at > NODES_SECONDS:
                self._nodes = (await self._client.list(NODES)).items[:NODES_SHOWN]
                self._read_at = self._clock.monotonic()
            return self._nodes
