"""Pod garbage collection: pods of nodes that no longer exist, and finished pods beyond a number.

Source: pkg/controller/podgc/gc_controller.go. Where that scans every 20 s, this is told by watches.
"""

from __future__ import annotations

from collections.abc import Iterable

from podbay.aio.clock import Clock
from podbay.aio.informer import Informer, InformerSet
from podbay.embedded.controllers.base import PODS, Loop, is_terminal
from podbay.embedded.controllers.disruption import delete_pod, disrupt
from podbay.errors import ApiError
from podbay.objects.api import ClusterApi
from podbay.objects.meta import Object
from podbay.objects.nodes import NODES

__all__ = ["PodGarbageCollector", "surplus"]

_QUARANTINE_SECONDS = 40.0
"""A node that comes back within this time keeps its pods (quarantineTime)."""
_FINISHED = "finished"


def surplus(finished: Iterable[Object], threshold: int) -> list[Object]:
    """The oldest finished pods beyond the threshold."""
    pods = sorted(
        finished, key=lambda p: (p["metadata"].get("creationTimestamp") or "", p["metadata"]["name"])
    )
    return pods[: max(0, len(pods) - threshold)]


class PodGarbageCollector:
    """Keys are `node/<name>` for a vanished node and `finished` for the threshold."""

    def __init__(self, api: ClusterApi, clock: Clock, *, threshold: int) -> None:
        self._api = api
        self._clock = clock
        self._threshold = threshold
        self._pods: Informer | None = None
        self._nodes: Informer | None = None
        self.loop: Loop[str] = Loop("pod garbage collector", clock, self._reconcile)

    def watch(self, informers: InformerSet) -> None:
        self._nodes, self._pods = informers.informer(NODES), informers.informer(PODS)
        self._pods.add_index("node", lambda pod: [pod["spec"].get("nodeName") or ""])
        self._pods.add_index("finished", lambda pod: [_FINISHED] if is_terminal(pod) else [])
        self._nodes.add_handler(self._on_node)
        self._pods.add_handler(self._on_pod)

    def _on_node(self, old: Object | None, new: Object | None) -> None:
        if new is None and old is not None:
            self.loop.queue.add_after(f"node/{old['metadata']['name']}", _QUARANTINE_SECONDS)

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        assert self._pods is not None
        assert self._nodes is not None
        if new is None:
            return
        node = new["spec"].get("nodeName")
        if node and self._nodes.synced.is_set() and self._nodes.get(node) is None:
            self.loop.queue.add_after(f"node/{node}", _QUARANTINE_SECONDS)
        if (
            self._threshold > 0
            and is_terminal(new)
            and self._pods.count_index("finished", _FINISHED) > self._threshold
        ):
            self.loop.queue.add(_FINISHED)

    async def _reconcile(self, key: str) -> float | None:
        assert self._pods is not None
        if key == _FINISHED:
            for pod in surplus(self._pods.by_index("finished", _FINISHED), self._threshold):
                await delete_pod(self._api, pod, at_once=True)
            return None
        node = key.removeprefix("node/")
        if not await self._is_gone(node):
            return None
        message = "PodGC: node no longer exists"
        for pod in self._pods.by_index("node", node):
            await self._end(pod, message)
        return None

    async def _is_gone(self, node: str) -> bool:
        try:
            await self._api.get(NODES, node)
        except ApiError as error:
            if error.code == 404:
                return True
            raise
        return False

    async def _end(self, pod: Object, message: str) -> None:
        try:
            await disrupt(self._api, self._clock, pod, reason="DeletionByPodGC", message=message, fail=True)
        except ApiError as error:
            if error.code != 404:
                raise
        await delete_pod(self._api, pod, at_once=True)
