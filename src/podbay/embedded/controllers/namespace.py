"""Namespace termination: empty the namespace, say what remains, then let it go.

Pods end first, everything else after the last of them. Source: pkg/controller/namespace/deletion/
{namespaced_resources_deleter,status_condition_utils}.go.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from podbay.aio.clock import Clock
from podbay.aio.informer import InformerSet
from podbay.embedded.controllers.base import NAMESPACES, PODS, Loop, Served
from podbay.errors import ApiError
from podbay.objects.api import ClusterApi
from podbay.objects.events import timestamp
from podbay.objects.meta import Object, namespace_of
from podbay.objects.resource import GVR

__all__ = ["NamespaceController", "Remaining", "termination_conditions"]

_FINALIZER = "kubernetes"
_LOOK_AGAIN_SECONDS = 1.0
"""How soon to look whether finalizers of others have let go. kube-controller-manager waits 8 s; a laptop's user is
less patient and a local list is cheap."""
_YIELD_EVERY = 50
"""Deletions between two turns of the event loop."""

_CONDITIONS = {
    "NamespaceDeletionDiscoveryFailure": ("ResourcesDiscovered", "All resources successfully discovered"),
    "NamespaceDeletionGroupVersionParsingFailure": (
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    "NamespaceDeletionContentFailure": (
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    "NamespaceContentRemaining": ("ContentRemoved", "All content successfully removed"),
    "NamespaceFinalizersRemaining": ("ContentRemoved", "All content successfully removed"),
}


@dataclass(slots=True)
class Remaining:
    """What a pass over the namespace left behind."""

    resources: Counter[GVR] = field(default_factory=Counter)
    finalizers: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    @property
    def anything(self) -> bool:
        return bool(self.resources or self.errors)


def _failures(remaining: Remaining) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    if remaining.errors:
        listed = ", ".join(sorted(remaining.errors))
        text = f"Failed to delete all resource types, {len(remaining.errors)} remaining: {listed}"
        found["NamespaceDeletionContentFailure"] = ("ContentDeletionFailed", text)
    if remaining.resources:
        listed = ", ".join(
            sorted(
                f"{g.resource}.{g.group} has {n} resource instances" for g, n in remaining.resources.items()
            )
        )
        text = f"Some resources are remaining: {listed}"
        found["NamespaceContentRemaining"] = ("SomeResourcesRemain", text)
    if remaining.finalizers:
        listed = ", ".join(sorted(f"{f} in {n} resource instances" for f, n in remaining.finalizers.items()))
        text = f"Some finalizers are remaining: {listed}"
        found["NamespaceFinalizersRemaining"] = ("SomeFinalizersRemain", text)
    return found


def termination_conditions(namespace: Object, remaining: Remaining, now: datetime) -> list[Object] | None:
    """The namespace's conditions after a pass, or None when they say so already."""
    old = {c["type"]: c for c in (namespace.get("status") or {}).get("conditions") or ()}
    failures = _failures(remaining)
    found: dict[str, Object] = dict(old)
    for kind, fine in _CONDITIONS.items():
        reason, message = failures.get(kind, fine)
        status = "True" if kind in failures else "False"
        before = old.get(kind)
        moment = timestamp(now)
        if before is not None and before["status"] == status:
            moment = before["lastTransitionTime"]
        found[kind] = {
            "type": kind,
            "status": status,
            "lastTransitionTime": moment,
            "reason": reason,
            "message": message,
        }
    return None if found == old else list(found.values())


class NamespaceController:
    """Empties namespaces that are being deleted."""

    def __init__(
        self, api: ClusterApi, clock: Clock, served: Sequence[Served], *, grace_seconds: float
    ) -> None:
        self._api = api
        self._clock = clock
        self._namespaced = [s for s in served if s.namespaced]
        # Events about the others' end are content too, so they go last.
        self._namespaced.sort(key=lambda s: (s.gvr != PODS, s.gvr.resource == "events"))
        self._grace_seconds = grace_seconds
        self._terminating: set[str] = set()
        self.loop: Loop[str] = Loop("namespace", clock, self._reconcile)

    def watch(self, informers: InformerSet) -> None:
        informers.informer(NAMESPACES).add_handler(self._on_namespace)
        informers.informer(PODS).add_handler(self._on_pod)

    def _on_namespace(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            self._terminating.discard((old or {})["metadata"]["name"])
        elif new["metadata"].get("deletionTimestamp"):
            name = new["metadata"]["name"]
            if name not in self._terminating:
                self._terminating.add(name)
                self.loop.queue.add(name)

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        if new is None and old is not None and namespace_of(old) in self._terminating:
            self.loop.queue.add(namespace_of(old))

    async def _reconcile(self, name: str) -> float | None:
        try:
            namespace = await self._api.get(NAMESPACES, name)
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        deleted_at = namespace["metadata"].get("deletionTimestamp")
        if not deleted_at or _FINALIZER not in ((namespace.get("spec") or {}).get("finalizers") or ()):
            return None
        left = self._grace_seconds - (self._clock.now() - _parse(deleted_at)).total_seconds()
        if left > 0:
            return left
        remaining = await self._empty(name)
        if not remaining.anything:
            await self._finalize(namespace)
            return None
        conditions = termination_conditions(namespace, remaining, self._clock.now())
        if conditions is not None:
            await self._api.patch(
                NAMESPACES, name, {"status": {"conditions": conditions}}, subresource="status"
            )
        return _LOOK_AGAIN_SECONDS

    async def _empty(self, namespace: str) -> Remaining:
        remaining = Remaining()
        for served in self._namespaced:
            try:
                await self._delete_all(served, namespace, remaining)
            except ApiError as error:
                if error.code not in (404, 405):
                    remaining.errors.append(error.message)
            if served.gvr == PODS and remaining.anything:
                return remaining
        return remaining

    async def _delete_all(self, served: Served, namespace: str, remaining: Remaining) -> None:
        items = (await self._api.list(served.gvr, namespace=namespace)).items
        if not items:
            return
        for count, item in enumerate(items):
            await self._delete(served.gvr, item)
            if count % _YIELD_EVERY == 0:
                await asyncio.sleep(0)
        left = (await self._api.list(served.gvr, namespace=namespace)).items
        if left:
            remaining.resources[served.gvr] += len(left)
            remaining.finalizers.update(f for item in left for f in item["metadata"].get("finalizers") or ())

    async def _delete(self, resource: GVR, item: Object) -> None:
        metadata = item["metadata"]
        options = {"orphanDependents": False, "preconditions": {"uid": metadata["uid"]}}
        try:
            await self._api.delete(
                resource, metadata["name"], namespace=metadata["namespace"], options=options
            )
        except ApiError as error:
            if error.code not in (404, 405, 409):
                raise

    async def _finalize(self, namespace: Object) -> None:
        spec = namespace.get("spec") or {}
        left = sorted(f for f in spec.get("finalizers") or () if f != _FINALIZER)
        changed = {**namespace, "spec": {**spec, "finalizers": left}}
        try:
            await self._api.update(NAMESPACES, changed, subresource="finalize")
        except ApiError as error:
            if error.code != 404:
                raise


def _parse(moment: str) -> datetime:
    return datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
