"""Makes a pod's volumes, keeps their files current, removes them.

Volumes of files and emptyDirs live in the runtime under "<pod uid>/<volume name>"; hostPath and claims are paths of the
machine, images are the runtime's. Source: pkg/volume/*, pkg/kubelet/volumemanager.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from podbay.errors import ApiError, StartError
from podbay.node.fields import NodeFacts
from podbay.node.references import PodObjects
from podbay.node.runtime import Volumes
from podbay.node.specs import HostPath, MountSource, VolumeSource, VolumeSpec
from podbay.node.volumes.files import Files, FileSources, is_file_volume, volume_files, wants_memory
from podbay.node.volumes.host_paths import ready_host_path
from podbay.node.volumes.tokens import PodTokens
from podbay.objects.api import ClusterApi
from podbay.objects.meta import Object, name_of, namespace_of, uid_of
from podbay.objects.quantity import Quantity
from podbay.objects.resource import GVR

__all__ = ["MountFailure", "PodVolumes", "Prepared", "VolumeKeeper", "runtime_volumes"]

_CLAIMS = GVR("", "v1", "persistentvolumeclaims")
_VOLUMES = GVR("", "v1", "persistentvolumes")


@dataclass(frozen=True, slots=True)
class MountFailure:
    """One volume that could not be set up."""

    volume: str
    message: str

    @property
    def text(self) -> str:
        """The kubelet's FailedMount sentence."""
        return f'MountVolume.SetUp failed for volume "{self.volume}" : {self.message}'


@dataclass(slots=True)
class Prepared:
    """What is known of a pod's volumes after looking: what to mount, what to write, what is missing."""

    sources: dict[str, MountSource] = field(default_factory=dict)
    read_only: set[str] = field(default_factory=set)
    devices: dict[str, str] = field(default_factory=dict)
    make: dict[str, VolumeSpec] = field(default_factory=dict)
    write: dict[str, Files] = field(default_factory=dict)
    paths: list[tuple[str, str, str, int]] = field(default_factory=list)
    """(volume, path, hostPath type, mode when made)."""
    images: list[Object] = field(default_factory=list)
    failures: list[MountFailure] = field(default_factory=list)


def runtime_volumes(pod: Object) -> list[str]:
    """Names of the volumes that the runtime keeps for the pod."""
    volumes = pod["spec"].get("volumes") or ()
    return [_name(pod, v) for v in volumes if is_file_volume(v) or v.get("emptyDir") is not None]


def _name(pod: Object, volume: Object) -> str:
    return f"{uid_of(pod)}/{volume['name']}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodVolumes:
    """What the keeper needs of its surroundings."""

    api: ClusterApi
    runtime: Volumes
    tokens: PodTokens
    node: NodeFacts
    host_paths: bool
    """Whether this process and the runtime share a file system."""


class VolumeKeeper:
    """See the module docstring."""

    def __init__(self, parts: PodVolumes) -> None:
        self._parts = parts

    async def look(self, pod: Object, objects: PodObjects) -> Prepared:
        """Compute everything the volumes are made of; nothing is changed yet. Failures are listed, not raised."""
        prepared = Prepared()
        sources: FileSources | None = None
        for volume in pod["spec"].get("volumes") or ():
            try:
                if is_file_volume(volume) and sources is None:
                    sources = await self._file_sources(pod, objects)
                await self._look_at(pod, volume, prepared, sources)
            except StartError as error:
                prepared.failures.append(MountFailure(volume["name"], str(error)))
        return prepared

    async def make(self, prepared: Prepared) -> None:
        """Create and fill what was looked at. StartError FailedMount."""
        for volume, path, kind, mode in prepared.paths:
            try:
                ready_host_path(path, kind, mode=mode)
            except StartError as error:
                raise StartError("FailedMount", MountFailure(volume, str(error)).text) from error
        await asyncio.gather(*(self._make(name, spec, prepared) for name, spec in prepared.make.items()))

    async def refresh(self, pod: Object, objects: PodObjects) -> None:
        """Write the present contents of all file volumes; what is missing now keeps its old files."""
        prepared = await self.look(pod, objects)
        await asyncio.gather(
            *(self._parts.runtime.write_volume(name, f) for name, f in prepared.write.items())
        )

    async def remove(self, names: list[str]) -> None:
        """Remove runtime volumes."""
        await asyncio.gather(*(self._parts.runtime.remove_volume(name) for name in names))

    async def _make(self, name: str, spec: VolumeSpec, prepared: Prepared) -> None:
        await self._parts.runtime.create_volume(spec)
        files = prepared.write.get(name)
        if files is not None:
            await self._parts.runtime.write_volume(name, files)

    async def _file_sources(self, pod: Object, objects: PodObjects) -> FileSources:
        parts = self._parts
        tokens = await parts.tokens.for_pod(pod)
        return FileSources(
            secret=objects.secret, config_map=objects.config_map, node=parts.node, tokens=tokens
        )

    async def _look_at(
        self, pod: Object, volume: Object, prepared: Prepared, sources: FileSources | None
    ) -> None:
        name = volume["name"]
        if sources is not None and is_file_volume(volume):
            files = volume_files(pod, volume, sources)
            prepared.write[_name(pod, volume)] = files
            prepared.read_only.add(name)
            self._own(pod, volume, prepared, memory=wants_memory(volume))
        elif (empty := volume.get("emptyDir")) is not None:
            self._own(
                pod, volume, prepared, memory=empty.get("medium") == "Memory", limit=empty.get("sizeLimit")
            )
        elif (host := volume.get("hostPath")) is not None:
            self._path(name, host["path"], host.get("type") or "", prepared)
        elif volume.get("image") is not None:
            prepared.images.append(volume)
        elif (claim := volume.get("persistentVolumeClaim")) is not None:
            await self._claim(pod, name, claim["claimName"], prepared)
            if claim.get("readOnly"):
                prepared.read_only.add(name)
        elif volume.get("ephemeral") is not None:
            await self._claim(pod, name, f"{name_of(pod)}-{name}", prepared)
        else:
            kind = next((k for k, v in volume.items() if k != "name" and v is not None), "")
            raise StartError(
                "FailedMount", f"no volume plugin matched: {kind} volumes need a driver this node lacks"
            )

    def _own(
        self, pod: Object, volume: Object, prepared: Prepared, *, memory: bool, limit: str | None = None
    ) -> None:
        """A volume of the runtime."""
        size = Quantity.from_json(limit).value() if limit is not None else 0
        if memory and volume.get("emptyDir") is not None and not size:
            size = self._memory_size(pod)
        group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        name = _name(pod, volume)
        prepared.make[name] = VolumeSpec(name=name, memory=memory, size_limit=size or None, group=group)
        prepared.sources[volume["name"]] = VolumeSource(name)

    def _memory_size(self, pod: Object) -> int:
        """A memory volume without a limit holds what the pod may use, at most what the node gives to pods."""
        limits = [
            ((c.get("resources") or {}).get("limits") or {}).get("memory") for c in pod["spec"]["containers"]
        ]
        whole = Quantity.from_json(self._parts.node.allocatable.get("memory")).value()
        if any(limit is None for limit in limits):
            return whole
        return min(whole, sum(Quantity.from_json(limit).value() for limit in limits))

    def _path(self, name: str, path: str, kind: str, prepared: Prepared, *, mode: int = 0o755) -> None:
        if not self._parts.host_paths:
            raise StartError(
                "FailedMount", f"this node cannot mount {path}: its container engine has files of its own"
            )
        prepared.paths.append((name, path, kind, mode))
        prepared.sources[name] = HostPath(path)

    async def _claim(self, pod: Object, name: str, claim_name: str, prepared: Prepared) -> None:
        claim = await self._get(_CLAIMS, claim_name, namespace_of(pod))
        volume_name = claim["spec"].get("volumeName")
        if (claim.get("status") or {}).get("phase") != "Bound" or not volume_name:
            raise StartError("FailedMount", f"PVC {namespace_of(pod)}/{claim_name} is not bound")
        spec = (await self._get(_VOLUMES, volume_name, None))["spec"]
        _check_owner(volume_name, spec, claim)
        source = spec.get("hostPath") or spec.get("local")
        if source is None:
            raise StartError("FailedMount", f"no volume plugin matched for PersistentVolume {volume_name}")
        kind = source.get("type") or ("DirectoryOrCreate" if spec.get("hostPath") else "Directory")
        if spec.get("volumeMode") == "Block":
            prepared.devices[name] = source["path"]
            return
        # Whoever runs in the pod writes there, as with other provisioners of local folders.
        self._path(name, source["path"], kind, prepared, mode=0o777)

    async def _get(self, resource: GVR, name: str, namespace: str | None) -> Object:
        try:
            return await self._parts.api.get(resource, name, namespace=namespace)
        except ApiError as error:
            raise StartError("FailedMount", error.message) from error


def _check_owner(name: str, spec: Object, claim: Object) -> None:
    """A claim may name any volume; only the volume says whose it is (pkg/kubelet/volumemanager, getPVSpec)."""
    owner = (spec.get("claimRef") or {}).get("uid")
    if not owner:
        why = "it has a nil pv.Spec.ClaimRef indicating it is not yet bound to any claims"
    elif owner != uid_of(claim):
        why = f"its pv.Spec.ClaimRef.UID {owner} does not point to claim.UID {uid_of(claim)}"
    else:
        return
    raise StartError("FailedMount", f"found PV object {name} but {why}")
