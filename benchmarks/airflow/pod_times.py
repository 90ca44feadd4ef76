"""When a pod was there and when its main container had ended, as a watch of the benchmark's own sees it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from podbay.kube.kubeconfig import load_kubeconfig
from podbay.kube.lease import lease, pods_of
from podbay.kube.store import Change

__all__ = ["PodTimes", "watched_pods"]

NEVER = float("nan")


@dataclass(slots=True)
class PodTimes:
    """Seconds since the epoch, of the first pod after the watch began."""

    created: float = NEVER
    ended: float = NEVER
    _known: set[str] = field(default_factory=set)

    def note(self, change: Change) -> None:
        pod = change.object or {}
        uid = (pod.get("metadata") or {}).get("uid")
        if not uid or uid in self._known:
            return
        if self.created != self.created:
            self.created = time.time()
        statuses = (pod.get("status") or {}).get("containerStatuses") or ()
        if self.ended != self.ended and any(
            each["name"] == "base" and "terminated" in (each.get("state") or {}) for each in statuses
        ):
            self.ended = time.time()


@contextlib.contextmanager
def watched_pods(kubeconfig: Path) -> Iterator[PodTimes]:
    """Watch while the block runs, in a thread with an event loop of its own."""
    times, ready = PodTimes(), threading.Event()
    ends: list[Callable[[], object]] = []

    async def watch() -> None:
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        ends.append(lambda: loop.call_soon_threadsafe(over.set))
        async with (
            lease(load_kubeconfig(kubeconfig)) as leased,
            leased.watch(pods_of("default")) as store,
        ):
            await store.wait_synced()
            times._known = {pod["metadata"]["uid"] for pod in store.objects()}
            stop = store.listen(times.note)
            ready.set()
            await over.wait()
            stop()

    thread = threading.Thread(target=lambda: asyncio.run(watch()), daemon=True)
    thread.start()
    if not ready.wait(60):
        raise RuntimeError("the cluster's pods cannot be watched")
    try:
        yield times
    finally:
        ends[0]()
        thread.join(10)
