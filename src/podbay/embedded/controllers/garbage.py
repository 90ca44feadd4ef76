"""The garbage collector: dependents follow their owners, at once, before them, or not at all.

Event driven: every change of an object goes into `ownership.Graph`, which names the objects to look at; nothing is
scanned. Absence is always confirmed by a live read. Source: pkg/controller/garbagecollector.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from podbay.aio.clock import Clock
from podbay.aio.informer import InformerSet
from podbay.embedded.controllers.base import Loop, Served, find_served
from podbay.embedded.controllers.ownership import (
    FOREGROUND,
    ORPHAN,
    Graph,
    Owner,
    OwnerState,
    Verdict,
    Vertex,
    judge,
)
from podbay.errors import ApiError
from podbay.objects.api import ClusterApi
from podbay.objects.meta import Object
from podbay.objects.resource import GVR

__all__ = ["GarbageCollector"]


class GarbageCollector:
    """Looks after owner references among all served, deletable kinds."""

    def __init__(self, api: ClusterApi, clock: Clock, served: Sequence[Served]) -> None:
        self._api = api
        self._served = tuple(served)
        self._namespaced = {s.gvr: s.namespaced for s in served}
        self.graph = Graph()
        self.loop: Loop[str] = Loop("garbage collector", clock, self._reconcile)

    def watch(self, informers: InformerSet) -> None:
        for served in self._served:
            # Events own nothing and are owned by nothing; watching them would be the largest cost of all.
            if served.gvr.resource != "events":
                self._follow(informers, served.gvr)

    def _follow(self, informers: InformerSet, resource: GVR) -> None:
        def changed(old: Object | None, new: Object | None) -> None:
            if new is not None:
                looks = self.graph.put(resource, new)
            else:
                assert old is not None
                looks = self.graph.remove(old["metadata"].get("uid") or "")
            for uid in looks:
                self.loop.queue.add(uid)

        informers.metadata(resource).add_handler(changed)

    async def _reconcile(self, uid: str) -> float | None:
        vertex = self.graph.vertices.get(uid)
        if vertex is None or vertex.resource is None:
            return None
        if vertex.orphans:
            await self._orphan(vertex)
        elif vertex.waits_for_dependents:
            await self._wait_for_dependents(vertex)
        elif not vertex.deleting:
            await self._attempt(vertex)
        return None

    async def _live(self, vertex: Vertex) -> Object | None:
        assert vertex.resource is not None
        try:
            obj = await self._api.get(vertex.resource, vertex.name, namespace=vertex.namespace or None)
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        return obj if obj["metadata"].get("uid") == vertex.uid else None

    async def _attempt(self, vertex: Vertex) -> None:
        obj = await self._live(vertex)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            return
        references = obj["metadata"].get("ownerReferences") or []
        if not references:
            return
        states = [await self._state(Owner.of(r), vertex) for r in references]
        dependents = [self.graph.vertices[d] for d in vertex.dependents if d in self.graph.vertices]
        verdict = judge(
            states,
            has_dependents=bool(dependents),
            dependents_wait=any(d.waits_for_dependents for d in dependents),
        )
        if verdict is Verdict.DROP_REFERENCES:
            kept = [r for r, s in zip(references, states, strict=True) if s is OwnerState.SOLID]
            await self._patch(vertex, obj, {"ownerReferences": kept})
        elif verdict is not Verdict.KEEP:
            await self._delete(vertex, obj, foreground=verdict is Verdict.DELETE_FOREGROUND)

    async def _state(self, owner: Owner, dependent: Vertex) -> OwnerState:
        served = find_served(self._served, owner.api_version, owner.kind)
        # A kind we cannot look up is no proof that the owner is gone, nor is an impossible reference.
        if served is None or (served.namespaced and not dependent.namespace):
            return OwnerState.SOLID
        namespace = dependent.namespace if served.namespaced else None
        try:
            found = await self._api.get(served.gvr, owner.name, namespace=namespace)
        except ApiError as error:
            if error.code == 404:
                return OwnerState.DANGLING
            raise
        metadata = found["metadata"]
        if metadata.get("uid") != owner.uid:
            return OwnerState.DANGLING
        if metadata.get("deletionTimestamp") and FOREGROUND in (metadata.get("finalizers") or ()):
            return OwnerState.WAITING
        return OwnerState.SOLID

    async def _delete(self, vertex: Vertex, obj: Object, *, foreground: bool) -> None:
        finalizers = obj["metadata"].get("finalizers") or ()
        policy = "Background"
        if ORPHAN in finalizers:
            policy = "Orphan"
        elif foreground or FOREGROUND in finalizers:
            policy = "Foreground"
        preconditions = {"uid": vertex.uid, "resourceVersion": obj["metadata"]["resourceVersion"]}
        options = {"propagationPolicy": policy, "preconditions": preconditions}
        assert vertex.resource is not None
        try:
            await self._api.delete(
                vertex.resource, vertex.name, namespace=vertex.namespace or None, options=options
            )
        except ApiError as error:
            if error.code != 404:
                raise

    async def _wait_for_dependents(self, vertex: Vertex) -> None:
        blocking = self.graph.blocking(vertex)
        if blocking:
            for dependent in blocking:
                if not dependent.deleting:
                    self.loop.queue.add(dependent.uid)
            return
        await self._remove_finalizer(vertex, FOREGROUND)

    async def _orphan(self, vertex: Vertex) -> None:
        for uid in list(vertex.dependents):
            dependent = self.graph.vertices.get(uid)
            if dependent is None or dependent.resource is None:
                continue
            obj = await self._live(dependent)
            if obj is None:
                continue
            references = obj["metadata"].get("ownerReferences") or []
            kept = [r for r in references if r.get("uid") != vertex.uid]
            if len(kept) != len(references):
                await self._patch(dependent, obj, {"ownerReferences": kept})
        await self._remove_finalizer(vertex, ORPHAN)

    async def _remove_finalizer(self, vertex: Vertex, finalizer: str) -> None:
        obj = await self._live(vertex)
        if obj is None:
            return
        finalizers = obj["metadata"].get("finalizers") or []
        if finalizer in finalizers:
            await self._patch(vertex, obj, {"finalizers": [f for f in finalizers if f != finalizer]})

    async def _patch(self, vertex: Vertex, obj: Object, metadata: dict[str, Any]) -> None:
        """Change metadata of the very version that was looked at."""
        metadata = {k: v or None for k, v in metadata.items()}
        metadata |= {"uid": vertex.uid, "resourceVersion": obj["metadata"]["resourceVersion"]}
        assert vertex.resource is not None
        try:
            await self._api.patch(
                vertex.resource, vertex.name, {"metadata": metadata}, namespace=vertex.namespace or None
            )
        except ApiError as error:
            if error.code != 404:
                raise
