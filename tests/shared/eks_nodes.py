"""Between clients and moto's EKS: a node group that is made brings virtual nodes into an embedded cluster, and they go with it.

moto has node groups at once and without nodes. Here one is CREATING until its nodes are ready in the cluster, and DELETING
until they are gone. A test may hold either, or have it fail. Everything else goes to moto unchanged.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from podbay.aio.clock import SystemClock
from podbay.embedded.scripted import ScriptedNode, ScriptedNodes
from podbay.embedded.scripted.script import DEFAULT_SCRIPT, Script
from podbay.errors import ApiError
from podbay.objects.resource import GVR
from podbay.testing import Environment

__all__ = ["EksNodes", "Group", "moto_server"]

NODES = GVR("", "v1", "nodes")
_PATH = re.compile(r"/clusters/([^/]+)/node-groups(?:/([^/]+))?")
_EFFECTS = {
    "NO_SCHEDULE": "NoSchedule",
    "NO_EXECUTE": "NoExecute",
    "PREFER_NO_SCHEDULE": "PreferNoSchedule",
}
_DROPPED = ("transfer-encoding", "content-length", "connection", "date", "server", "content-encoding")


@dataclass
class Group:
    """A node group that somebody asked for."""

    cluster: str
    name: str
    asked: dict[str, Any]
    status: str = "CREATING"
    nodes: list[str] = field(default_factory=list)


class EksNodes:
    """Use `EksNodes.started()`. `address` is where AWS is."""

    def __init__(self, moto: str, environment: Environment, script: Script = DEFAULT_SCRIPT) -> None:
        self.moto = moto
        self.address = ""
        self.groups: dict[str, Group] = {}
        """By name; also those that are gone."""
        self.counts: Counter[str] = Counter()
        """Requests about node groups, by method."""
        self.coming = True
        """False: nodes are not made, and node groups stay CREATING."""
        self.slow = False
        """Requests for node groups are taken, and answered when this is False again."""
        self.failure = ""
        """What AWS says of node groups that are made from now on, in place of making nodes."""
        self.down = 0
        """So many requests are cut without an answer."""
        self.guarded: set[str] = set()
        """Clusters whose node groups may not be listed, and node groups that may not be deleted."""
        self.busy = False
        """True: node groups that are CREATING may not be deleted yet."""
        self._environment = environment
        self._script = script
        self._hosts: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    @contextmanager
    def started(
        cls, moto: str, environment: Environment, script: Script = DEFAULT_SCRIPT
    ) -> Iterator[EksNodes]:
        """On the cluster's event loop, because its parts are touched."""
        found = cls(moto, environment, script)
        environment.run(found._open())
        try:
            yield found
        finally:
            environment.run(found._close())

    def named(self, group_id: str) -> list[Group]:
        """Those that Podbay has made for a task group, oldest first."""
        return [
            each for each in self.groups.values() if each.asked["tags"].get("podbay.dev/group") == group_id
        ]

    # -- serving

    async def _open(self) -> None:
        app = web.Application(client_max_size=16 << 20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.address = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._session = aiohttp.ClientSession()

    async def _close(self) -> None:
        for task in [*self._tasks, *self._hosts.values()]:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._runner.cleanup()
        await self._session.close()

    async def _answer(self, request: web.Request) -> web.Response:
        if self.down > 0:
            self.down -= 1
            assert request.transport is not None
            request.transport.abort()
            raise ConnectionResetError
        body = await request.read()
        about = _PATH.fullmatch(request.path)
        if about is None:
            return await self._forward(request, body)
        self.counts[request.method] += 1
        if request.method == "POST":
            return await self._create(request, body, about[1])
        if (request.method == "DELETE" and about[2] in self.guarded) or (
            about[2] is None and about[1] in self.guarded
        ):
            return _refused(403, "AccessDeniedException", f"User: x is not authorized to {request.method}")
        if about[2] is None:
            answer = await self._forward(request, body)
            # moto's own fault: it has no answer for a cluster that is not there.
            return answer if answer.status == 200 else _not_found(f"No cluster found for name: {about[1]}.")
        known = self.groups.get(about[2] or "")
        if known is None or known.status == "gone":
            return await self._forward(request, body)
        if request.method == "DELETE" and self.busy and known.status == "CREATING":
            return _refused(409, "ResourceInUseException", "Nodegroup is CREATING")
        if request.method == "DELETE":
            return await self._delete(request, known)
        return await self._forward(request, body, known)

    async def _create(self, request: web.Request, body: bytes, cluster: str) -> web.Response:
        asked = json.loads(body)
        while self.slow:
            await asyncio.sleep(0.02)
        answer = await self._forward(request, body)
        if answer.status != 200:
            return answer
        group = Group(cluster, asked["nodegroupName"], asked)
        self.groups[group.name] = group
        if self.failure:
            group.status = "CREATE_FAILED"
        else:
            self._do(self._bring(group))
        return self._retold(answer, group)

    async def _delete(self, request: web.Request, group: Group) -> web.Response:
        """moto forgets it when its nodes are gone."""
        url = f"{self.moto}{request.path}"
        headers = _kept(request.headers)
        async with self._session.get(url, headers=headers) as answer:
            told = web.Response(status=answer.status, body=await answer.read())
        if group.status != "DELETING":
            group.status = "DELETING"
            self._do(self._take_away(group, headers))
        return self._retold(told, group)

    async def _forward(self, request: web.Request, body: bytes, group: Group | None = None) -> web.Response:
        url = self.moto + request.raw_path
        async with self._session.request(
            request.method, url, data=body, headers=_kept(request.headers)
        ) as answer:
            headers = {name: value for name, value in answer.headers.items() if name.lower() not in _DROPPED}
            told = web.Response(status=answer.status, body=await answer.read(), headers=headers)
        return told if group is None else self._retold(told, group)

    def _retold(self, answer: web.Response, group: Group) -> web.Response:
        if answer.status != 200:
            return answer
        assert isinstance(answer.body, bytes)
        told = json.loads(answer.body)
        told["nodegroup"]["status"] = group.status
        if group.status == "CREATE_FAILED":
            issue = {"code": "AsgInstanceLaunchFailures", "message": self.failure, "resourceIds": []}
            told["nodegroup"]["health"] = {"issues": [issue]}
        return web.json_response(told)

    def _do(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- nodes

    async def _bring(self, group: Group) -> None:
        while not self.coming:
            await asyncio.sleep(0.05)
            if group.status != "CREATING":
                return
        for number in range(group.asked["scalingConfig"]["desiredSize"]):
            name = f"{group.name}-{number}"
            group.nodes.append(name)
            await self._start(_node(name, group))
        if group.status == "CREATING":
            group.status = "ACTIVE"

    async def _start(self, node: ScriptedNode) -> None:
        cluster = self._environment.embedded
        assert cluster is not None
        host = ScriptedNodes([node], self._script)
        cluster.server.core.nodes.update(host.streams)
        api = cluster.server.api(agent="kubelet")
        self._hosts[node.name] = asyncio.get_running_loop().create_task(host.run(api, SystemClock()))
        while True:
            with contextlib.suppress(ApiError):
                conditions = (await api.get(NODES, node.name))["status"]["conditions"]
                if any(each["type"] == "Ready" and each["status"] == "True" for each in conditions):
                    return
            await asyncio.sleep(0.02)

    async def _take_away(self, group: Group, headers: dict[str, str]) -> None:
        cluster = self._environment.embedded
        assert cluster is not None
        for name in group.nodes:
            host = self._hosts.pop(name, None)
            if host is not None:
                host.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await host
            cluster.server.core.nodes.pop(name, None)
            with contextlib.suppress(ApiError):
                await cluster.api().delete(NODES, name)
        url = f"{self.moto}/clusters/{group.cluster}/node-groups/{group.name}"
        async with self._session.delete(url, headers=headers) as answer:
            await answer.read()
        group.status = "gone"


def _not_found(message: str) -> web.Response:
    return _refused(404, "ResourceNotFoundException", message)


def _refused(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status, headers={"x-amzn-ErrorType": code})


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in headers.items()
        if name.lower() not in ("host", "accept-encoding", "content-length")
    }


def _node(name: str, group: Group) -> ScriptedNode:
    asked = group.asked
    capacity = {"nvidia.com/gpu": "1"} if "NVIDIA" in asked.get("amiType", "") else {}
    taints = [{**each, "effect": _EFFECTS[each["effect"]]} for each in asked.get("taints") or ()]
    labels = {**(asked.get("labels") or {}), "eks.amazonaws.com/nodegroup": group.name}
    return ScriptedNode(name=name, labels=labels, taints=taints, capacity=capacity)


@contextmanager
def moto_server() -> Iterator[str]:
    """moto's server as a process of its own, with the interpreter that has it; its address."""
    python = Path(__file__).parents[2] / ".venv" / "bin" / "python"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(python), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{address}/moto-api/data.json", timeout=30).read()
                break
            except OSError:
                assert process.poll() is None, f"moto's server ended with {process.returncode}"
                assert time.monotonic() < deadline, "moto's server does not answer"
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait()
