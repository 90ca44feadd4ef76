"""PersistentVolumes: what becomes of one when its claim is gone, and kept from deletion before that.

Volumes that people made are never deleted here. Source: pkg/controller/volume/{persistentvolume,pvprotection}.
"""

from __future__ import annotations

from podbay.aio.clock import Clock
from podbay.aio.informer import Informer, InformerSet
from podbay.embedded.controllers.base import CLAIMS, VOLUMES, Loop
from podbay.errors import ApiError
from podbay.objects.api import ClusterApi
from podbay.objects.meta import Object, name_of, uid_of

__all__ = ["VolumeController"]

_FINALIZER = "kubernetes.io/pv-protection"


class VolumeController:
    """Keys are volumes."""

    def __init__(self, api: ClusterApi, clock: Clock) -> None:
        self._api = api
        self._volumes: Informer | None = None
        self.loop: Loop[str] = Loop("persistent volumes", clock, self._reconcile)

    def watch(self, informers: InformerSet) -> None:
        self._volumes = informers.informer(VOLUMES)
        self._volumes.add_handler(self._on_volume)
        informers.informer(CLAIMS).add_handler(self._on_claim)

    def _on_volume(self, _old: Object | None, new: Object | None) -> None:
        if new is not None:
            self.loop.queue.add(name_of(new))

    def _on_claim(self, old: Object | None, new: Object | None) -> None:
        if new is None and old is not None and (volume := old["spec"].get("volumeName")):
            self.loop.queue.add(volume)

    async def _reconcile(self, key: str) -> float | None:
        assert self._volumes is not None
        volume = self._volumes.store.get(key)
        if volume is None:
            return None
        deleted = bool(volume["metadata"].get("deletionTimestamp"))
        if (deleted or _is_ours(volume)) and not await self._is_claimed(volume):
            await (self._let_go(volume) if deleted else self._reclaim(volume))
        return None

    async def _is_claimed(self, volume: Object) -> bool:
        # The API is asked, as claims and volumes may have been listed at different moments.
        reference = volume["spec"].get("claimRef") or {}
        name, namespace = reference.get("name"), reference.get("namespace")
        if not name or not namespace:
            return False
        try:
            claim = await self._api.get(CLAIMS, name, namespace=namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            return False
        return uid_of(claim) == reference.get("uid")

    async def _let_go(self, volume: Object) -> None:
        finalizers = volume["metadata"].get("finalizers") or []
        if _FINALIZER not in finalizers:
            return
        left = [f for f in finalizers if f != _FINALIZER]
        version = volume["metadata"]["resourceVersion"]
        patch = {"metadata": {"finalizers": left or None, "resourceVersion": version}}
        await self._api.patch(VOLUMES, name_of(volume), patch)

    async def _reclaim(self, volume: Object) -> None:
        if volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete":
            options = {"preconditions": {"uid": uid_of(volume)}}
            await self._api.delete(VOLUMES, name_of(volume), options=options)
        elif (volume.get("status") or {}).get("phase") != "Released":
            released = {"status": {"phase": "Released"}}
            await self._api.patch(VOLUMES, name_of(volume), released, subresource="status")


def _is_ours(volume: Object) -> bool:
    """Made for a claim by ClaimController."""
    uid = (volume["spec"].get("claimRef") or {}).get("uid")
    return bool(uid) and name_of(volume) == f"pvc-{uid}"
