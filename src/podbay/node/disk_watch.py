"""Looks at the disk space of pods that have a limit on it, and evicts those that exceed it.

The one thing that is looked at by the clock: no file system tells when a tree grows. Pods without a limit cost nothing.
Source: pkg/kubelet/eviction/eviction_manager.go.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from podbay.errors import PodbayError
from podbay.node.disk_limits import exceeded, has_disk_limit
from podbay.node.parts import NodeParts
from podbay.node.podworker import PodWorker
from podbay.node.view import Outcome
from podbay.objects.meta import uid_of

__all__ = ["DiskWatch"]

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 10.0
"""The kubelet's monitoring interval."""


class DiskWatch:
    """One node's watch over disk space."""

    def __init__(
        self,
        parts: NodeParts,
        workers: Callable[[], Iterable[PodWorker]],
        *,
        interval: float = INTERVAL_SECONDS,
    ) -> None:
        self._parts, self._workers, self._interval = parts, workers, interval

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._parts.clock.sleep(self._interval)
            limited = [w for w in self._workers() if not w.record.ended and has_disk_limit(w.record.pod)]
            if not limited:
                continue
            try:
                await self._look(limited)
            except (PodbayError, OSError) as error:
                log.warning("disk usage of pods: %s", error)

    async def _look(self, workers: list[PodWorker]) -> None:
        used = {
            usage.container_id: (usage.rootfs_bytes or 0) + (usage.log_bytes or 0)
            for usage in await self._parts.runtime.usage(disk=True)
        }
        for worker in workers:
            pod = worker.record.pod
            containers: dict[str, int] = {}
            for status in worker.record.all():
                containers[status.name] = containers.get(status.name, 0) + used.get(status.id, 0)
            volumes = {
                v["name"]: await self._parts.runtime.volume_usage(f"{uid_of(pod)}/{v['name']}")
                for v in pod["spec"].get("volumes") or ()
                if v.get("emptyDir") is not None and v["emptyDir"].get("medium") != "Memory"
            }
            message = exceeded(pod, containers, volumes)
            if message:
                self._parts.recorder.pod(pod, "Warning", "Evicted", message)
                worker.evict(Outcome("Evicted", message))
