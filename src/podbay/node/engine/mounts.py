"""Finding what a container's mounts mean on the engine's side, and making what they need there.

Mounts of volumes go through the keeper's volume; an image's files are copied into it once. A path of this machine is
taken literally: whether the engine sees the same machine is told in the runtime's features.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import orjson

from podbay.errors import StartError
from podbay.node.engine.api import Engine
from podbay.node.engine.keeper import Keeper, Place
from podbay.node.engine.volumes import VolumePlaces
from podbay.node.specs import ContainerSpec, HostPath, ImageSource, Mount, Security, Tmpfs, VolumeSource

__all__ = ["Mounts", "message_path"]

_PROPAGATION = {"private": "rprivate", "host_to_container": "rslave", "bidirectional": "rshared"}
_IMAGES = "images"
_POD_FILES = {"hosts": "/etc/hosts", "hostname": "/etc/hostname", "resolv.conf": "/etc/resolv.conf"}
"""Files in a sandbox's directory, which not every sandbox has all of."""
_RECURSIVE_API = (1, 44)
"""Since then ReadOnlyForceRecursive exists."""


def message_path(sandbox_id: str, name: str, attempt: int) -> str:
    """Where a container's termination message is, in the keeper's volume."""
    return f"sandboxes/{sandbox_id}/{name}.{attempt}.message"


class Mounts:
    """Turns mounts into the Engine API's form. StartError, reason CreateContainerError, when one cannot be had."""

    def __init__(self, engine: Engine, keeper: Keeper, volumes: VolumePlaces, *, same_machine: bool) -> None:
        self._engine = engine
        self._same_machine = same_machine
        self._keeper = keeper
        self._volumes = volumes
        self._copying = asyncio.Lock()

    async def of(self, sandbox_id: str, spec: ContainerSpec) -> list[dict[str, Any]]:
        """All mounts of a container; its message file and the pod's own files among them."""
        found = [await self._one(mount) for mount in spec.mounts]
        taken = {mount["Target"] for mount in found}
        for name, target in _POD_FILES.items():
            place = self._keeper.disk(f"sandboxes/{sandbox_id}/{name}")
            if target not in taken and await self._keeper.files.look(place.in_keeper) is not None:
                found.append(await self._keeper.mount(place, target, read_only=spec.security.read_only_root))
        if spec.message_path and spec.message_path not in taken:
            found.append(await self._message(sandbox_id, spec))
        return found

    async def seccomp(self, security: Security) -> str:
        """A profile as the engine's option takes it: Docker its text, Podman the path of a file on its machine."""
        if isinstance(security.seccomp, str):
            return ""
        text = orjson.dumps(dict(security.seccomp))
        if not self._engine.podman:
            return text.decode()
        place = self._keeper.disk(f"seccomp/{hashlib.sha256(text).hexdigest()}.json")
        await self._keeper.files.make_directory(self._keeper.disk("seccomp").in_keeper)
        await self._keeper.files.write_file(place.in_keeper, text)
        return str((await self._keeper.mount(place, "/", read_only=True))["Source"])

    async def _message(self, sandbox_id: str, spec: ContainerSpec) -> dict[str, Any]:
        place = self._keeper.disk(message_path(sandbox_id, spec.name, spec.attempt))
        # Never over one that is there: this may be asked for a container that exists.
        if await self._keeper.files.look(place.in_keeper) is None:
            await self._keeper.files.write_file(place.in_keeper, b"", mode=0o666)
        return await self._keeper.mount(place, spec.message_path, read_only=False)

    async def _one(self, mount: Mount) -> dict[str, Any]:
        source = mount.source
        if isinstance(source, Tmpfs):
            options: dict[str, Any] = {"Mode": source.mode}
            if source.size is not None:
                options["SizeBytes"] = source.size
            return {"Type": "tmpfs", "Target": mount.target, "TmpfsOptions": options}
        if isinstance(source, HostPath):
            found = _bind(source.path, mount, must_exist=self._same_machine)
        elif isinstance(source, VolumeSource):
            place = await self._volumes.find(source.name)
            if place is None:
                raise _refusal(f'there is no volume "{source.name}"')
            found = await self._place(place, mount, read_only=mount.read_only)
        else:
            found = await self._place(await self._image(source), mount, read_only=True)
        recursive = mount.recursive_read_only and found["ReadOnly"] and self._engine.api >= _RECURSIVE_API
        if recursive and found["Type"] == "bind":
            found.setdefault("BindOptions", {})["ReadOnlyForceRecursive"] = True
        return found

    async def _place(self, place: Place, mount: Mount, *, read_only: bool) -> dict[str, Any]:
        if mount.sub_path:
            place = await self._volumes.resolve(place, mount.sub_path)
        return await self._keeper.mount(place, mount.target, read_only=read_only)

    async def _image(self, source: ImageSource) -> Place:
        """The image's files, copied into the keeper's volume from a container that never runs."""
        name = source.image_id.rpartition(":")[2]
        place = self._keeper.disk(f"{_IMAGES}/{name}")
        async with self._copying:
            files = self._keeper.files
            if await files.look(place.in_keeper) is None:
                fresh = self._keeper.disk(f"{_IMAGES}/{name}.new")
                await files.make_directory(self._keeper.disk(_IMAGES).in_keeper)
                await self._keeper.slow_files.remove(fresh.in_keeper)
                await files.make_directory(fresh.in_keeper)
                await self._copy(source.image_id, fresh)
                await files.rename(fresh.in_keeper, place.in_keeper)
        return place

    async def _copy(self, image_id: str, to: Place) -> None:
        made = await self._engine.post("/containers/create", {"Image": image_id, "Cmd": ["none"]})
        if not made.ok:
            raise _refusal(made.message)
        identity = made.json()["Id"]
        try:
            keeper = await self._keeper.running()
            put = await self._engine.call(
                "PUT",
                f"/containers/{keeper}/archive",
                query={"path": f"/{to.in_keeper}"},
                data=self._export(identity),
                timeout=None,
            )
            if not put.ok:
                raise _refusal(put.message)
        finally:
            await self._engine.delete(f"/containers/{identity}", {"force": 1, "v": 1})

    async def _export(self, container: str) -> AsyncGenerator[bytes, None]:
        async with self._engine.stream("GET", f"/containers/{container}/export") as stream:
            async for chunk in stream.chunks():
                yield chunk

    async def forget_image(self, image_id: str) -> None:
        """Remove the copy of an image's files."""
        place = self._keeper.disk(f"{_IMAGES}/{image_id.rpartition(':')[2]}")
        await self._keeper.slow_files.remove(place.in_keeper)


def _bind(path: str, mount: Mount, *, must_exist: bool) -> dict[str, Any]:
    # Docker refuses what is missing, Podman makes a directory of it.
    if must_exist and not os.path.lexists(path):
        raise _refusal(f"bind source path does not exist: {path}")
    if mount.sub_path:
        path = _inside(path, mount.sub_path)
    return {
        "Type": "bind",
        "Source": path,
        "Target": mount.target,
        "ReadOnly": mount.read_only,
        "BindOptions": {"Propagation": _PROPAGATION[mount.propagation]},
    }


def _inside(base: str, sub_path: str) -> str:
    """A sub path of a path of this machine, made as a directory if missing."""
    if sub_path.startswith("/"):
        raise _refusal(f'subPath "{sub_path}" must be a relative path')
    root = Path(os.path.realpath(base))
    found = Path(os.path.realpath(root / sub_path))
    if not found.is_relative_to(root):
        raise _refusal(f'subPath "{sub_path}" leads out of its volume')
    if root.is_dir():
        found.mkdir(parents=True, exist_ok=True) if not found.exists() else None
    return str(found)


def _refusal(message: str) -> StartError:
    return StartError("CreateContainerError", message)
