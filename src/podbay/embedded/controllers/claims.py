"""PersistentVolumeClaims: bound to local storage at once, and kept while a pod uses them.

Binding goes through the `Provisioner` seam; without one claims stay Pending. Only the embedded default storage class
is provisioned, and at once rather than at first use. Source: pkg/controller/volume/{persistentvolume,pvcprotection}.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from podbay.aio.clock import Clock
from podbay.aio.informer import Informer, InformerSet, object_key
from podbay.embedded.controllers.base import CLAIMS, PODS, VOLUMES, Loop, is_terminal
from podbay.errors import ApiError
from podbay.objects.api import ClusterApi
from podbay.objects.meta import Object, name_of, namespace_of, uid_of

__all__ = ["ClaimController", "LocalStorage", "Provisioner", "claims_of", "volume_for"]

_FINALIZER = "kubernetes.io/pvc-protection"


class Provisioner(Protocol):
    """Where the data of claims lives."""

    @property
    def storage_class(self) -> str:
        """The class whose claims it serves; claims without a class are given it."""
        ...

    def volume_source(self, claim: Object) -> dict[str, Any]:
        """The source of a PersistentVolume's spec for the claim ({"hostPath": {"path": …}}); idempotent."""
        ...

    def release(self, volume_name: str) -> None:
        """The claim of this volume is gone: its data may go. Unknown names are ignored."""
        ...


@dataclass(frozen=True, slots=True)
class LocalStorage:
    """A provisioner that only names folders under a root; whoever runs the pod makes them."""

    root: str
    storage_class: str = "standard"

    def volume_source(self, claim: Object) -> dict[str, Any]:
        folder = f"{self.root}/{namespace_of(claim)}-{name_of(claim)}-{uid_of(claim)}"
        return {"hostPath": {"path": folder, "type": "DirectoryOrCreate"}}

    def release(self, volume_name: str) -> None:
        """Folders stay: data is not deleted behind people's backs."""


def claims_of(pod: Object) -> Iterator[str]:
    """Keys of the claims a pod uses."""
    namespace = namespace_of(pod)
    for volume in pod["spec"].get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            yield f"{namespace}/{volume['persistentVolumeClaim']['claimName']}"
        elif volume.get("ephemeral"):
            yield f"{namespace}/{name_of(pod)}-{volume['name']}"


def _volume_name(claim: Object) -> str:
    return f"pvc-{uid_of(claim)}"


def volume_for(claim: Object, provisioner: Provisioner) -> Object:
    """The PersistentVolume of a claim."""
    spec = claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": _volume_name(claim)},
        "spec": {
            "capacity": {"storage": ((spec.get("resources") or {}).get("requests") or {}).get("storage")},
            "accessModes": spec.get("accessModes") or [],
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": namespace_of(claim),
                "name": name_of(claim),
                "uid": uid_of(claim),
            },
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": provisioner.storage_class,
            "volumeMode": spec.get("volumeMode") or "Filesystem",
            **provisioner.volume_source(claim),
        },
    }


class ClaimController:
    """Keys are claims."""

    def __init__(
        self, api: ClusterApi, clock: Clock, *, provisioner: Provisioner | None, volumes: bool
    ) -> None:
        self._api = api
        self._provisioner = provisioner
        self._volumes = volumes
        self._claims: Informer | None = None
        self._pods: Informer | None = None
        self.loop: Loop[str] = Loop("persistent volume claims", clock, self._reconcile)

    def watch(self, informers: InformerSet) -> None:
        self._claims, self._pods = informers.informer(CLAIMS), informers.informer(PODS)
        self._pods.add_index("claim", claims_of)
        self._claims.add_handler(self._on_claim)
        self._pods.add_handler(self._on_pod)

    def _on_claim(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self.loop.queue.add(object_key(new))
        elif old is not None and self._provisioner is not None:
            volume = (old.get("spec") or {}).get("volumeName")
            if volume == _volume_name(old):
                self._provisioner.release(volume)

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        pod = new if new is not None else old
        assert pod is not None
        if new is None or is_terminal(new):
            for key in claims_of(pod):
                self.loop.queue.add(key)

    async def _reconcile(self, key: str) -> float | None:
        assert self._claims is not None
        claim = self._claims.store.get(key)
        if claim is None:
            return None
        if claim["metadata"].get("deletionTimestamp"):
            await self._let_go(key, claim)
        elif (claim.get("status") or {}).get("phase") != "Bound" and self._is_ours(claim):
            await self._bind(claim)
        return None

    def _is_ours(self, claim: Object) -> bool:
        if self._provisioner is None:
            return False
        wanted = claim["spec"].get("storageClassName")
        if wanted is not None and wanted != self._provisioner.storage_class:
            return False
        # Who names a volume wants that one and no other, and it may hold somebody else's data.
        return claim["spec"].get("volumeName") in (None, "", _volume_name(claim))

    async def _let_go(self, key: str, claim: Object) -> None:
        assert self._pods is not None
        finalizers = claim["metadata"].get("finalizers") or []
        if _FINALIZER not in finalizers:
            return
        if any(not is_terminal(pod) for pod in self._pods.by_index("claim", key)):
            return
        left = [f for f in finalizers if f != _FINALIZER]
        version = claim["metadata"]["resourceVersion"]
        patch = {"metadata": {"finalizers": left or None, "resourceVersion": version}}
        await self._api.patch(CLAIMS, name_of(claim), patch, namespace=namespace_of(claim))

    async def _bind(self, claim: Object) -> None:
        assert self._provisioner is not None
        namespace, name = namespace_of(claim), name_of(claim)
        volume = volume_for(claim, self._provisioner)
        if self._volumes:
            await self._create_volume(volume)
        annotations = {
            "pv.kubernetes.io/bind-completed": "yes",
            "pv.kubernetes.io/bound-by-controller": "yes",
            "volume.kubernetes.io/storage-provisioner": "podbay.dev/local",
        }
        spec: dict[str, Any] = {"volumeName": name_of(volume)}
        if claim["spec"].get("storageClassName") is None:
            spec["storageClassName"] = self._provisioner.storage_class
        if not claim["spec"].get("volumeName"):
            patch = {"metadata": {"annotations": annotations}, "spec": spec}
            await self._api.patch(CLAIMS, name, patch, namespace=namespace)
        status = {
            "phase": "Bound",
            "accessModes": claim["spec"].get("accessModes") or [],
            "capacity": volume["spec"]["capacity"],
        }
        await self._api.patch(CLAIMS, name, {"status": status}, namespace=namespace, subresource="status")

    async def _create_volume(self, volume: Object) -> None:
        try:
            created = await self._api.create(VOLUMES, volume)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            return
        await self._api.patch(VOLUMES, name_of(created), {"status": {"phase": "Bound"}}, subresource="status")
