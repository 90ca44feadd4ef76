"""The keeper: one small container per node that holds the node's volumes and does file operations on them.

It is made on first use and again whenever somebody has removed it. What runs in it is keeper/keeper.c.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson

from podbay.errors import RuntimeUnavailableError
from podbay.node.engine.api import Answer, Engine, Query
from podbay.node.engine.files import RemoteFiles
from podbay.node.engine.keeper_image import FILES, MEMORY, PROGRAM, ensure_keeper_image
from podbay.node.engine.labels import KIND, NODE, Names

__all__ = ["Keeper", "Place"]

_SUBPATH_API = (1, 45)
"""Since then a part of a volume can be mounted (VolumeOptions.Subpath)."""


@dataclass(frozen=True, slots=True)
class Place:
    """A path inside one of the engine's volumes, which is mounted in the keeper as root. path may be empty."""

    volume: str
    root: str
    path: str

    @property
    def in_keeper(self) -> str:
        """The path as RemoteFiles takes it."""
        return f"{self.root}/{self.path}" if self.path else self.root

    def below(self, path: str) -> Place:
        return Place(self.volume, self.root, f"{self.path}/{path}".strip("/"))


class Keeper:
    """The keeper of one node. `files` are quick operations, `slow_files` those that read or remove whole trees."""

    def __init__(self, engine: Engine, names: Names) -> None:
        self._engine = engine
        self._names = names
        self._lock = asyncio.Lock()
        self._mountpoints: dict[str, str] = {}
        self.image = ""
        self.files = RemoteFiles(engine, self.running)
        self.slow_files = RemoteFiles(engine, self.running)

    async def aclose(self) -> None:
        await self.files.aclose()
        await self.slow_files.aclose()

    def disk(self, path: str) -> Place:
        return Place(self._names.files, FILES, path)

    def memory(self, path: str) -> Place:
        return Place(self._names.memory, MEMORY, path)

    async def running(self) -> str:
        """The id of the keeper's container, which runs now. RuntimeUnavailableError."""
        async with self._lock:
            self.image = self.image or await ensure_keeper_image(self._engine)
            name = f"{self._names.keeper}_{self.image.rpartition(':')[2]}"
            found = await self._engine.find(f"/containers/{name}/json")
            if found is not None and found["State"]["Running"]:
                return str(found["Id"])
            if found is None:
                await self.make_volume(self._names.files)
                await self.make_volume(self._names.memory, "mode=0755")
                mounts = [_mount(self._names.files, FILES), _mount(self._names.memory, MEMORY)]
                await self._make(name, mounts, {KIND: "keeper"})
            identity = await self._start(name)
            await self._remove_older(identity)
            return identity

    async def hold(self, volume: str, labels: dict[str, str]) -> None:
        """Keep a volume in memory mounted by a container of the same name, which runs as long as the volume exists."""
        await self.running()
        if await self._engine.find(f"/containers/{volume}/json") is None:
            await self._make(volume, [_mount(volume, FILES)], {KIND: "volume", **labels})
        await self._start(volume)

    def held_files(self, volume: str) -> RemoteFiles:
        """File operations on a held volume, at FILES. The caller closes them."""
        return RemoteFiles(self._engine, lambda: self._start(volume))

    async def kill_process(self, pid: int) -> None:
        """SIGKILL to a process of the engine's machine."""
        await self.running()
        body = {
            "Image": self.image,
            "Entrypoint": [PROGRAM],
            "Cmd": ["kill", str(pid)],
            "Labels": {NODE: self._names.node, KIND: "killer"},
            "HostConfig": {
                "AutoRemove": True,
                "PidMode": "host",
                "NetworkMode": "none",
                "CapDrop": ["ALL"],
                "CapAdd": ["KILL"],
            },
        }
        made = await self._engine.post("/containers/create", body)
        if made.ok:
            await self._engine.post(f"/containers/{made.json()['Id']}/start")

    async def make_volume(self, name: str, tmpfs: str = "", labels: dict[str, str] | None = None) -> None:
        """Make one of the engine's volumes if it does not exist. tmpfs: mount options, for one held in memory."""
        body: dict[str, Any] = {
            "Name": name,
            "Driver": "local",
            "Labels": {NODE: self._names.node, **(labels or {})},
        }
        if tmpfs:
            body["DriverOpts"] = {"type": "tmpfs", "device": "tmpfs", "o": tmpfs}
        if await self._engine.find(f"/volumes/{name}") is not None:
            return
        self._check(await self._engine.post("/volumes/create", body), f"cannot make the volume {name}")

    async def mount(self, place: Place, target: str, *, read_only: bool) -> dict[str, Any]:
        """A mount of that place in the form of the Engine API."""
        if not place.path:
            return {**_mount(place.volume, target), "ReadOnly": read_only}
        if self._engine.api >= _SUBPATH_API and not self._engine.podman:
            options = {"NoCopy": True, "Subpath": place.path}
            mount = {**_mount(place.volume, target), "ReadOnly": read_only}
            return {**mount, "VolumeOptions": options}
        # The engine mounts a path of the machine it works on, wherever that is.
        source = f"{await self._mountpoint(place.volume)}/{place.path}"
        return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only}

    async def _mountpoint(self, volume: str) -> str:
        if volume not in self._mountpoints:
            answer = await self._engine.get(f"/volumes/{volume}")
            self._check(answer, f"no volume {volume}")
            self._mountpoints[volume] = answer.json()["Mountpoint"]
        return self._mountpoints[volume]

    async def _make(self, name: str, mounts: list[dict[str, Any]], labels: dict[str, str]) -> None:
        body = {
            "Image": self.image,
            "Entrypoint": [PROGRAM],
            "Cmd": ["pause"],
            "Labels": {NODE: self._names.node, **labels},
            "HostConfig": {
                "Mounts": mounts,
                "NetworkMode": "none",
                "ReadonlyRootfs": True,
                "CapDrop": ["ALL"],
                "CapAdd": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"],
                "SecurityOpt": ["no-new-privileges"],
                "LogConfig": {"Type": "none"},
            },
        }
        made = await self._engine.post("/containers/create", body, query={"name": name})
        if not made.ok and await self._engine.find(f"/containers/{name}/json") is None:
            self.image = ""
            self._check(made, "cannot make the keeper")

    async def _start(self, name: str) -> str:
        self._check(await self._engine.post(f"/containers/{name}/start"), "cannot start the keeper")
        found = await self._engine.get(f"/containers/{name}/json")
        self._check(found, "the keeper is gone")
        return str(found.json()["Id"])

    async def _remove_older(self, identity: str) -> None:
        """Those of other versions go last, so that volumes in memory stay mounted throughout."""
        labels = [f"{NODE}={self._names.node}", f"{KIND}=keeper"]
        query: Query = {"all": 1, "filters": orjson.dumps({"label": labels}).decode()}
        for one in await self._engine.find("/containers/json", query) or ():
            if one["Id"] != identity:
                await self._engine.delete(f"/containers/{one['Id']}", {"force": 1})

    def _check(self, answer: Answer, what: str) -> None:
        if not answer.ok:
            raise RuntimeUnavailableError(
                f"{what} on the container engine at {self._engine.endpoint}: {answer.message}"
            )


def _mount(volume: str, target: str) -> dict[str, Any]:
    target = target if target.startswith("/") else f"/{target}"
    return {"Type": "volume", "Source": volume, "Target": target, "VolumeOptions": {"NoCopy": True}}
