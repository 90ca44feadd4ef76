"""The runtime protocol on a container engine, put together from the parts in this package.

Calls go straight to the engine; nothing is cached that another process could change. Open with `async with`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import orjson

from podbay.apiserver.streams import ExecSession, PortStream
from podbay.errors import ClosedError, ConflictError
from podbay.node.engine import sessions
from podbay.node.engine.api import Engine
from podbay.node.engine.endpoint import Endpoint
from podbay.node.engine.events import EngineEvents
from podbay.node.engine.images import ImagesOnEngine
from podbay.node.engine.keeper import Keeper
from podbay.node.engine.labels import ATTEMPT, MESSAGE, NAME, NODE, SANDBOX, Names
from podbay.node.engine.logs import read_log
from podbay.node.engine.mounts import Mounts, message_path
from podbay.node.engine.pods import PodsOnEngine
from podbay.node.engine.processes import network_namespace
from podbay.node.engine.usage import is_same_machine, runtime_info, usage_of
from podbay.node.engine.volumes import VolumePlaces
from podbay.node.images.manifest import Platform
from podbay.node.observed import (
    ContainerStatus,
    Image,
    LogLine,
    RuntimeInfo,
    RuntimeState,
    SandboxStatus,
    Usage,
)
from podbay.node.runc.connections import listen_in_pod
from podbay.node.runtime import RuntimeEvents
from podbay.node.specs import (
    ContainerSpec,
    ExecSpec,
    LogQuery,
    RegistryAuth,
    SandboxSpec,
    VolumeFile,
    VolumeSpec,
)

__all__ = ["EngineRuntime"]

_STATS_AT_ONCE = 8
_NETWORKS = ("bridge", "podman")
"""Names of the network that an engine gives to containers by default."""


class _Parts:
    """What an open runtime consists of."""

    def __init__(
        self, engine: Engine, node: str, info: RuntimeInfo, *, network: str, same_machine: bool
    ) -> None:
        names = Names(node)
        self.info = info
        self.keeper = Keeper(engine, names)
        self.volumes = VolumePlaces(engine, self.keeper, names)
        self.mounts = Mounts(engine, self.keeper, self.volumes, same_machine=same_machine)
        self.images = ImagesOnEngine(engine, Platform(info.os, info.architecture, info.variant))
        tells_oom = info.name != "podman" or _major(info.version) >= 5
        self.pods = PodsOnEngine(
            engine, self.keeper, self.mounts, names, network=network, tells_oom=tells_oom
        )


class EngineRuntime:
    """See podbay.node.runtime.Runtime. node names what is ours on the engine; no two nodes may share it."""

    def __init__(self, endpoint: Endpoint, *, node: str) -> None:
        self._engine = Engine(endpoint)
        self._node = node
        self._parts: _Parts | None = None
        self._local = False
        self._root = ""

    async def __aenter__(self) -> Self:
        engine = await self._engine.__aenter__()
        try:
            info = await engine.find("/info") or {}
            networks = {one["Name"] for one in await engine.find("/networks") or ()}
            network = next((name for name in _NETWORKS if name in networks), "none")
            same = is_same_machine(
                engine.endpoint, info, hostname=socket.gethostname(), kernel=os.uname().release
            )
            described = runtime_info(
                engine.version,
                info,
                podman=engine.podman,
                network=network,
                same_machine=same,
                is_root=os.geteuid() == 0,
            )
            self._local = same
            self._root = str(info.get("DockerRootDir", ""))
            self._parts = _Parts(engine, self._node, described, network=network, same_machine=same)
            await self._parts.keeper.running()
        except BaseException:
            await engine.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        parts, self._parts = self._parts, None
        if parts is not None:
            await parts.keeper.aclose()
        await self._engine.__aexit__()

    def _open(self) -> _Parts:
        if self._parts is None:
            raise ClosedError("the container runtime was used outside its `async with` block")
        return self._parts

    async def info(self) -> RuntimeInfo:
        return self._open().info

    async def images(self) -> Sequence[Image]:
        return await self._open().images.images()

    async def find_image(self, reference: str) -> Image | None:
        return await self._open().images.find_image(reference)

    async def pull_image(self, reference: str, auth: RegistryAuth | None = None) -> Image:
        return await self._open().images.pull_image(reference, auth)

    async def load_images(self, archive: Path) -> Sequence[Image]:
        return await self._open().images.load_images(archive)

    async def remove_image(self, image_id: str) -> None:
        parts = self._open()
        await parts.images.remove_image(image_id)
        await parts.mounts.forget_image(image_id)

    async def create_volume(self, spec: VolumeSpec) -> None:
        await self._open().volumes.create(spec)

    async def write_volume(self, name: str, files: Mapping[str, VolumeFile]) -> None:
        await self._open().volumes.write(name, files)

    async def volume_usage(self, name: str) -> int:
        return await self._open().volumes.usage(name)

    async def remove_volume(self, name: str) -> None:
        await self._open().volumes.remove(name)

    async def create_sandbox(self, spec: SandboxSpec) -> SandboxStatus:
        return await self._open().pods.create_sandbox(spec)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self._open().pods.remove_sandbox(sandbox_id)

    async def create_container(self, sandbox_id: str, spec: ContainerSpec) -> ContainerStatus:
        return await self._open().pods.create_container(sandbox_id, spec)

    async def start_container(self, container_id: str) -> ContainerStatus:
        return await self._open().pods.start_container(container_id)

    async def stop_container(self, container_id: str, grace: float) -> None:
        await self._open().pods.stop_container(container_id, grace)

    async def kill_container(self, container_id: str, signal: int) -> None:
        await self._open().pods.kill_container(container_id, signal)

    async def remove_container(self, container_id: str) -> None:
        await self._open().pods.remove_container(container_id)

    async def list(self) -> RuntimeState:
        return await self._open().pods.state()

    async def events(self) -> RuntimeEvents:
        return await EngineEvents(self._engine, self._open().pods, self._node).open()

    async def usage(self, *, disk: bool = False) -> Sequence[Usage]:
        limit = asyncio.Semaphore(_STATS_AT_ONCE)

        async def measure(identity: str) -> Usage | None:
            async with limit:
                return await self._measure(identity, disk=disk)

        ids = await self._open().pods.running_ids()
        found = await asyncio.gather(*(measure(identity) for identity in ids))
        return [usage for usage in found if usage is not None]

    async def _measure(self, identity: str, *, disk: bool) -> Usage | None:
        # Without one-shot an engine measures twice, a second apart, to tell CPU per cent.
        query = {"stream": "false"} if self._engine.podman else {"stream": "false", "one-shot": "true"}
        stats = await self._engine.find(f"/containers/{identity}/stats", query)
        size = await self._open().pods.inspect(identity, size=True) if disk else None
        if stats is None:
            return None
        if size is None:
            return usage_of(identity, stats)
        paths = self._log_paths(identity, size) if self._local else ()
        log_bytes = await asyncio.to_thread(_log_bytes, paths)
        return usage_of(identity, stats, rootfs_bytes=int(size.get("SizeRw") or 0), log_bytes=log_bytes)

    def _log_paths(self, identity: str, found: Mapping[str, Any]) -> Sequence[Path]:
        """Where the log may be: where the engine says, or where Docker's driver "local" writes without saying."""
        own = Path(self._root, "containers", identity, "local-logs", "container.log")
        return [Path(found["LogPath"])] if found.get("LogPath") else [own]

    def logs(self, container_id: str, query: LogQuery) -> AsyncGenerator[Sequence[LogLine], None]:
        return read_log(self._engine, self._open().pods, container_id, query)

    async def exec(self, container_id: str, spec: ExecSpec) -> ExecSession:
        return await sessions.execute(self._engine, self._open().keeper, container_id, spec)

    async def attach(self, container_id: str, spec: ExecSpec) -> ExecSession:
        return await sessions.attach(self._engine, self._open().pods, container_id, spec)

    async def connect(self, sandbox_id: str, port: int) -> PortStream:
        self._open()
        return await sessions.connect(self._engine, sandbox_id, port)

    async def listen(self, sandbox_id: str, address: str, port: int) -> socket.socket | None:
        """See podbay.node.runtime.PodListeners. ConflictError as well where pods' networks cannot be entered."""
        found = await self._open().pods.inspect(sandbox_id)
        if found is None or found["HostConfig"].get("NetworkMode") == "host":
            return None
        namespace = network_namespace(found) if self._local else None
        if namespace is None:
            raise ConflictError(
                f"pods of the container engine at {self._engine.endpoint} can be listened in only by root on "
                "the engine's own machine"
            )
        return await asyncio.to_thread(listen_in_pod, namespace, address, port)

    async def read_message(self, container_id: str, limit: int) -> bytes:
        parts = self._open()
        found = await parts.pods.inspect(container_id)
        labels = (found or {"Config": {}})["Config"].get("Labels") or {}
        if not labels.get(MESSAGE):
            return b""
        path = message_path(labels.get(SANDBOX, ""), labels.get(NAME, ""), int(labels.get(ATTEMPT) or 0))
        return await parts.keeper.files.read_end(parts.keeper.disk(path).in_keeper, limit)

    async def reset(self) -> None:
        parts = self._open()
        await parts.keeper.aclose()
        await parts.pods.remove_everything()
        await parts.volumes.reset()
        query = {"filters": orjson.dumps({"label": [f"{NODE}={self._node}"]}).decode()}
        listed = (await self._engine.find("/volumes", query) or {}).get("Volumes") or ()
        for volume in listed:
            await self._engine.delete(f"/volumes/{volume['Name']}", {"force": 1})


def _major(version: str) -> int:
    head = version.partition(".")[0]
    return int(head) if head.isdigit() else 0


def _log_bytes(patterns: Sequence[Path]) -> int | None:
    """Size of a log with its older parts; None where only the engine may look."""
    try:
        found = [one.stat().st_size for path in patterns for one in path.parent.glob(f"{path.name}*")]
    except OSError:
        return None
    return sum(found) if found else None
