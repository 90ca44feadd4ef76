"""Sandboxes and containers on an engine: making, starting, stopping, removing, listing.

A sandbox is a container that sleeps and holds the pod's network; the pod's containers join it. What exists is read from
the engine every time; the little that is remembered here may be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from podbay.errors import InvalidInputError, RuntimeUnavailableError, StartError
from podbay.node.engine.accounts import Accounts
from podbay.node.engine.api import Answer, Engine, Query
from podbay.node.engine.container_body import SandboxFacts, container_body, sandbox_body
from podbay.node.engine.images import image_of
from podbay.node.engine.keeper import Keeper
from podbay.node.engine.labels import (
    ATTEMPT,
    KIND,
    MESSAGE,
    NAME,
    NODE,
    SANDBOX,
    SHARED,
    Names,
    container_labels,
    sandbox_labels,
)
from podbay.node.engine.mounts import Mounts, message_path
from podbay.node.engine.status import (
    Memory,
    container_status,
    sandbox_status,
    start_message,
    was_started,
)
from podbay.node.observed import ContainerStatus, ImageConfig, RuntimeState, SandboxStatus
from podbay.node.pod_files import hosts_text, resolv_conf_text
from podbay.node.specs import ContainerSpec, SandboxSpec

__all__ = ["PodsOnEngine"]

_AT_ONCE = 16
"""Inspections under way together; an engine answers one in 1-3 ms."""
_SIGKILL = 9
_FAILURE_MAX = 64 << 10
"""Bytes of the words on a failed start that are kept."""
_REMOVAL_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Seconds between attempts to remove a container."""
_LATECOMER_SECONDS = 0.2
"""How long an engine may take to make a container after whoever asked has gone."""
_CONFLICT_PAUSES = (0.05, 0.1, 0.2, 0.4)
"""Seconds between attempts to make one whose name somebody else is just taking."""


class PodsOnEngine:
    """The pods of one node. network is the engine's name for the network of pods ("bridge" or "none")."""

    def __init__(
        self, engine: Engine, keeper: Keeper, mounts: Mounts, names: Names, *, network: str, tells_oom: bool
    ) -> None:
        self._engine = engine
        self._keeper = keeper
        self._mounts = mounts
        self._names = names
        self._accounts = Accounts(engine)
        self._network = network
        self._forgotten = Memory(tells_oom=tells_oom)
        self._memory: dict[str, Memory] = {}

    async def create_sandbox(self, spec: SandboxSpec) -> SandboxStatus:
        name = self._names.sandbox(spec)
        found = await self.inspect(name)
        if found is not None and (was_started(found) or found["State"]["Running"]):
            return sandbox_status(found)
        try:
            return await self._make_sandbox(name, spec, exists=found is not None)
        except StartError:
            await self._remove(name)
            raise

    async def _make_sandbox(self, name: str, spec: SandboxSpec, *, exists: bool) -> SandboxStatus:
        reason = "CreatePodSandboxError"
        if not exists:
            await self._keeper.running()
            labels = sandbox_labels(self._names.node, spec)
            body = sandbox_body(spec, image=self._keeper.image, network=self._network, labels=labels)
            await self._create(name, body, reason)
        started = await self._engine.post(f"/containers/{name}/start")
        found = await self.inspect(name)
        if not started.ok or found is None:
            raise StartError(reason, started.message)
        status = sandbox_status(found)
        await self._write_files(status, spec, str(found["Config"].get("Hostname") or ""))
        return status

    async def _write_files(self, status: SandboxStatus, spec: SandboxSpec, hostname: str) -> None:
        files = self._keeper.files
        base = self._keeper.disk(f"sandboxes/{status.id}").in_keeper
        await files.make_directory(self._keeper.disk("sandboxes").in_keeper)
        await files.make_directory(base)
        if not spec.host_network:
            # Pods in the host's network see the engine's machine's own file, which only the engine knows.
            named = spec if spec.hostname else replace(spec, hostname=hostname)
            await files.write_file(f"{base}/hosts", hosts_text(named, status.ips, "").encode())
            await files.write_file(f"{base}/hostname", f"{named.hostname}\n".encode())
        resolver = resolv_conf_text(spec.dns, "")
        if resolver:
            await files.write_file(f"{base}/resolv.conf", resolver.encode())

    async def remove_sandbox(self, sandbox_id: str) -> None:
        containers = await self._listed(f"{SANDBOX}={sandbox_id}")
        await asyncio.gather(*(self._remove(one["Id"]) for one in containers))
        await self._remove(sandbox_id)
        await self._keeper.slow_files.remove(self._keeper.disk(f"sandboxes/{sandbox_id}").in_keeper)

    async def create_container(self, sandbox_id: str, spec: ContainerSpec) -> ContainerStatus:
        sandbox = await self.inspect(sandbox_id)
        if sandbox is None:
            raise StartError("CreateContainerError", f"the pod's sandbox {sandbox_id[:12]} is gone")
        owner = sandbox["Config"].get("Labels") or {}
        name = self._names.container(owner, sandbox_id, spec)
        image = await self._engine.find(f"/images/{spec.image_id}/json")
        if image is None:
            raise StartError("CreateContainerError", f'image "{spec.image}" ({spec.image_id}) is gone')
        config: ImageConfig = image_of(image).config
        user = await self._accounts.settled(spec.user, spec.image_id, config.user)
        try:
            mounts = await self._mounts.of(sandbox_id, spec)
            seccomp = await self._mounts.seccomp(spec.security)
        except (OSError, InvalidInputError) as error:
            raise StartError("CreateContainerError", f"failed to prepare mounts: {error}") from error
        labels = container_labels(owner, sandbox_id, spec)
        body = container_body(
            replace(spec, user=user),
            _facts(sandbox),
            config,
            mounts=mounts,
            labels=labels,
            podman=self._engine.podman,
            seccomp=seccomp,
        )
        return self.status_of(await self._create(name, body, "CreateContainerError"))

    async def _create(self, name: str, body: Mapping[str, Any], reason: str) -> dict[str, Any]:
        """Make a container, or give back the one of that name. StartError."""
        message = ""
        for pause in _CONFLICT_PAUSES:
            made = await self._engine.post("/containers/create", body, query={"name": name})
            found = await self.inspect(name)
            if found is not None:
                return found
            message = made.message
            if made.status not in (409, 500):
                break
            # The name is taken before there is anything to see, by a call like this one.
            await asyncio.sleep(pause)
        raise StartError(reason, message)

    async def start_container(self, container_id: str) -> ContainerStatus:
        found = await self.inspect(container_id)
        if found is None:
            raise StartError("StartError", f"container {container_id[:12]} is gone")
        await self._recall(found)
        status = self.status_of(found)
        if status.reason == "StartError" or was_started(found):
            return status
        started = await self._engine.post(f"/containers/{container_id}/start")
        if not started.ok:
            message = start_message(started.message)
            await self._keep_failure(found, message)
            raise StartError("StartError", message)
        return self.status_of(await self.inspect(container_id) or found)

    async def _keep_failure(self, found: Mapping[str, Any], message: str) -> None:
        self._remember(found["Id"], start_error=message)
        if self._engine.podman:
            # It shows such a container as one that was never started.
            await self._keeper.files.write_file(
                _failure_file(self._keeper, found), message.encode()[:_FAILURE_MAX]
            )

    async def _recall(self, found: Mapping[str, Any]) -> None:
        """Learn of a failed start that an earlier process saw."""
        known = found["Id"] in self._memory
        if not self._engine.podman or known or was_started(found) or found["State"]["Running"]:
            return
        words = await self._keeper.files.read_end(_failure_file(self._keeper, found), _FAILURE_MAX)
        self._remember(found["Id"], start_error=words.decode(errors="replace"))

    async def stop_container(self, container_id: str, grace: float) -> None:
        found = await self.inspect(container_id)
        if found is None or not found["State"]["Running"]:
            return
        signal = str(found["Config"].get("StopSignal") or "SIGTERM")
        if grace > 0:
            await self._kill(container_id, signal)
            try:
                async with asyncio.timeout(grace):
                    await self.wait(container_id)
                return
            except TimeoutError:
                pass
        await self.kill_container(container_id, _SIGKILL)
        await self.wait(container_id)

    async def kill_container(self, container_id: str, signal: int) -> None:
        if signal == _SIGKILL:
            self._remember(container_id, killed=True)
        await self._kill(container_id, str(signal))

    async def remove_container(self, container_id: str) -> None:
        found = await self.inspect(container_id)
        if found is None:
            return
        await self._remove(container_id)
        labels = found["Config"].get("Labels") or {}
        if labels.get(MESSAGE):
            path = message_path(labels.get(SANDBOX, ""), labels.get(NAME, ""), int(labels.get(ATTEMPT, 0)))
            await self._keeper.files.remove(self._keeper.disk(path).in_keeper)

    async def wait(self, container_id: str) -> int | None:
        """Wait for its end: the exit code, None when it does not exist."""
        # Podman looks every 250 ms unless told; Docker does not know the word.
        query: Query = {"condition": "not-running", "interval": "50ms"}
        ended = await self._engine.call("POST", f"/containers/{container_id}/wait", query=query, timeout=None)
        return int(ended.json()["StatusCode"]) if ended.ok else None

    async def state(self) -> RuntimeState:
        limit = asyncio.Semaphore(_AT_ONCE)

        async def look(identity: str) -> dict[str, Any] | None:
            async with limit:
                return await self.inspect(identity)

        listed = await self._listed()
        kinds = [(one["Labels"] or {}).get(KIND) for one in listed]
        seen = await asyncio.gather(*(look(one["Id"]) for one in listed))
        found = [(kind, one) for kind, one in zip(kinds, seen, strict=True) if one is not None]
        for kind, one in found:
            if kind == "container":
                await self._recall(one)
        return RuntimeState(
            sandboxes=[sandbox_status(one) for kind, one in found if kind == "sandbox"],
            containers=[self.status_of(one) for kind, one in found if kind == "container"],
        )

    async def running_ids(self) -> list[str]:
        """Ids of the containers that run, sandboxes not among them."""
        listed = await self._listed(f"{KIND}=container", running=True)
        return [str(one["Id"]) for one in listed]

    def status_of(self, found: Mapping[str, Any]) -> ContainerStatus:
        """An inspection read with what is remembered of the container."""
        return container_status(found, self._memory.get(found["Id"], self._forgotten))

    async def inspect(self, name_or_id: str, *, size: bool = False) -> dict[str, Any] | None:
        """The engine's account of a container; None when it does not exist."""
        query = {"size": 1} if size else None
        found: dict[str, Any] | None = await self._engine.find(f"/containers/{name_or_id}/json", query)
        return found

    async def remove_everything(self) -> None:
        """All containers of this node, the keeper included."""
        # What a killed process had asked for may come into being while this runs.
        for last in (False, True):
            while listed := await self._listed():
                inner = [one["Id"] for one in listed if one["Labels"][KIND] == "container"]
                await asyncio.gather(*(self._remove(identity) for identity in inner))
                rest = [one["Id"] for one in listed if one["Id"] not in inner]
                await asyncio.gather(*(self._remove(identity) for identity in rest))
            if not last:
                await asyncio.sleep(_LATECOMER_SECONDS)

    async def _listed(self, label: str = "", *, running: bool = False) -> list[dict[str, Any]]:
        labels = [f"{NODE}={self._names.node}", *([label] if label else [])]
        query: Query = {
            "all": 0 if running else 1,
            "filters": orjson.dumps({"label": labels}).decode(),
        }
        return list(await self._engine.find("/containers/json", query) or ())

    async def _kill(self, container_id: str, signal: str) -> Answer:
        return await self._engine.post(f"/containers/{container_id}/kill", query={"signal": signal})

    async def _remove(self, container_id: str) -> None:
        self._memory.pop(container_id, None)
        # Refused while somebody else removes it, or while it is just being started.
        for pause in _REMOVAL_PAUSES:
            answer = await self._engine.delete(f"/containers/{container_id}", {"force": 1, "v": 1})
            if answer.ok or answer.status == 404:
                return
            await asyncio.sleep(pause)
        raise RuntimeUnavailableError(
            f"the container engine at {self._engine.endpoint} cannot remove container "
            f"{container_id[:12]}: {answer.message}"
        )

    def _remember(self, container_id: str, **changes: Any) -> None:
        self._memory[container_id] = replace(self._memory.get(container_id, self._forgotten), **changes)


def _failure_file(keeper: Keeper, found: Mapping[str, Any]) -> str:
    labels = found["Config"].get("Labels") or {}
    path = f"sandboxes/{labels.get(SANDBOX, '')}/{found['Id']}.failure"
    return keeper.disk(path).in_keeper


def _facts(sandbox: Mapping[str, Any]) -> SandboxFacts:
    host = sandbox["HostConfig"]
    return SandboxFacts(
        id=sandbox["Id"],
        hostname=str(sandbox["Config"].get("Hostname") or ""),
        host_network=host.get("NetworkMode") == "host",
        host_pid=host.get("PidMode") == "host",
        host_ipc=host.get("IpcMode") == "host",
        share_processes=(sandbox["Config"].get("Labels") or {}).get(SHARED) == "true",
    )
