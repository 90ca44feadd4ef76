"""Faults of nodes and pods on request (docs/faults.md): evict, preempt, kill, out of memory, lost nodes, failing pulls.

    POST /podbay.dev/v1/node-faults    {"do": "evict", "pod": "default/train", "message": "…"}
                                       {"do": "preempt", "pod": "default/train"}
                                       {"do": "kill", "pod": "default/train", "container": "main", "signal": 9}
                                       {"do": "oom", "pod": "default/train"}
                                       {"do": "lose-node", "node": "podbay"}   {"do": "return-node", "node": "podbay"}
                                       {"do": "fail-pulls", "image": "*/train:*", "message": "…", "count": 2}
                                       {"do": "slow-pulls", "image": "*", "seconds": 5}    {"do": "allow-pulls"}

Each is what the part concerned does by itself when the thing really happens, set off from outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import orjson
from aiohttp import web

from podbay.aio.clock import Clock
from podbay.apiserver import status
from podbay.apiserver.http import Extension, read_body
from podbay.apiserver.request import Request
from podbay.apiserver.result import PlainResult
from podbay.apiserver.streams import NodeStreams
from podbay.embedded.nodes import NodeHost
from podbay.embedded.scripted import ScriptedNodes
from podbay.embedded.severed import SeverableApi
from podbay.errors import ApiError, InvalidInputError
from podbay.node.agent import NodeAgent
from podbay.node.disturbances import PullFault
from podbay.node.view import Outcome
from podbay.objects.api import ClusterApi
from podbay.objects.events import timestamp
from podbay.objects.meta import Object, uid_of
from podbay.objects.resource import GVR

__all__ = ["NodeFaults"]

PATH = "/podbay.dev/v1/node-faults"
PODS = GVR("", "v1", "pods")
_EVICTED = "The node was low on resource: memory. This eviction was asked for by a fault."
_KILL = 9

Fault: TypeAlias = Mapping[str, Any]


class NodeFaults:
    """Carries out faults on the nodes of one cluster."""

    def __init__(self, api: ClusterApi, clock: Clock, streams: dict[str, NodeStreams]) -> None:
        """streams is the API server's table of who answers for a node; lost nodes are taken out of it."""
        self._api, self._clock, self._streams = api, clock, streams
        self._agents: dict[str, NodeAgent] = {}
        self._links: dict[str, SeverableApi] = {}
        self._hosts: dict[str, NodeHost] = {}

    def add(self, host: NodeHost, link: SeverableApi) -> None:
        """Make the nodes of a host known, and its way to the API: they are lost together."""
        for name in host.streams:
            self._links[name], self._hosts[name] = link, host
            if isinstance(host, NodeAgent):
                self._agents[name] = host

    def extension(self) -> Extension:
        async def serve(raw: web.BaseRequest, request: Request) -> PlainResult | None:
            if request.path != PATH or request.method != "POST":
                return None
            try:
                fault = orjson.loads(await read_body(raw))
                if not isinstance(fault, dict):
                    raise InvalidInputError("fault: expected an object with `do`")
                told = await self.carry_out(fault)
            except (InvalidInputError, orjson.JSONDecodeError) as err:
                raise status.bad_request(str(err)) from err
            return PlainResult(orjson.dumps({"done": told}) + b"\n", content_type="application/json")

        return serve

    async def carry_out(self, fault: Fault) -> str:
        """Do it and say what was done. Raises InvalidInputError naming the field, ApiError for missing pods."""
        match fault.get("do"):
            case "lose-node" | "return-node" as do:
                return self._sever(fault, lost=do == "lose-node")
            case "fail-pulls" | "slow-pulls" | "allow-pulls" as do:
                return self._pulls(fault, do)
            case "evict":
                return await self._evict(fault)
            case "preempt":
                return await self._preempt(fault)
            case "kill" | "oom" as do:
                return await self._kill(fault, out_of_memory=do == "oom")
        raise InvalidInputError(
            f"do: {fault.get('do')!r} is not a fault; use evict, preempt, kill, oom, lose-node, return-node, "
            "fail-pulls, slow-pulls or allow-pulls"
        )

    def _sever(self, fault: Fault, *, lost: bool) -> str:
        name = str(fault.get("node") or "")
        link = self._links.get(name)
        if link is None:
            raise InvalidInputError(
                f"node: {name!r} is not a node of this cluster; it has {_listed(self._links)}"
            )
        streams = self._hosts[name].streams
        if lost:
            link.sever()
            for node in streams:
                self._streams.pop(node, None)
            return f"node {_listed(streams)} is cut off; its pods live on unseen"
        link.mend()
        self._streams.update(streams)
        return f"node {_listed(streams)} is back"

    def _pulls(self, fault: Fault, do: str) -> str:
        agents = self._agents.values()
        if do == "allow-pulls":
            for agent in agents:
                agent.disturbances.pulls.clear()
            return "pulls go through again"
        pattern = str(fault.get("image") or "*")
        message = str(fault.get("message") or "") if do == "fail-pulls" else ""
        if do == "fail-pulls" and not message:
            message = 'failed to pull and unpack image "{image}": a fault asked for it'
        count = fault.get("count")
        if count is not None and (not isinstance(count, int) or count < 1):
            raise InvalidInputError(f"count: {count!r} is not a whole number from 1 on")
        declared = PullFault(image=pattern, message=message, delay=_seconds(fault), count=count)
        for agent in agents:
            agent.disturbances.pulls.append(declared)
        return f"pulls of {pattern} {'fail' if message else 'are slow'}"

    async def _evict(self, fault: Fault) -> str:
        namespace, name = _pod_name(fault)
        pod = await self._api.get(PODS, name, namespace=namespace)
        message = str(fault.get("message") or _EVICTED)
        host = self._hosts.get(_node_of(pod))
        if isinstance(host, NodeAgent):
            worker = host.worker(uid_of(pod))
            evicted = worker is not None
            if worker is not None:
                worker.evict(Outcome("Evicted", message))
        elif isinstance(host, ScriptedNodes):
            evicted = host.evict(uid_of(pod), message)
        else:
            raise InvalidInputError(f"pod: {fault['pod']} is on no node of this cluster yet")
        if not evicted:
            raise InvalidInputError(f"pod: {fault['pod']} has ended")
        return f"pod {fault['pod']} is evicted"

    async def _preempt(self, fault: Fault) -> str:
        """As the scheduler does it to make room: a condition that says why, then a graceful delete."""
        namespace, name = _pod_name(fault)
        pod = await self._api.get(PODS, name, namespace=namespace)
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": "default-scheduler: preempting to accommodate a higher priority pod",
            "lastTransitionTime": timestamp(self._clock.now()),
        }
        change = {"status": {"conditions": [condition]}}
        await self._api.patch(
            PODS, name, change, namespace=namespace, subresource="status", patch_type="strategic"
        )
        options = {"preconditions": {"uid": uid_of(pod)}}
        await self._api.delete(PODS, name, namespace=namespace, options=options)
        return f"pod {namespace}/{name} is preempted"

    async def _kill(self, fault: Fault, *, out_of_memory: bool) -> str:
        pod, agent = await self._pod(fault)
        statuses = (pod.get("status") or {}).get("containerStatuses") or []
        wanted = str(fault.get("container") or (statuses[0]["name"] if statuses else ""))
        found = next((s for s in statuses if s["name"] == wanted and "running" in s.get("state", {})), None)
        if found is None:
            raise InvalidInputError(f"container: {wanted!r} of pod {fault['pod']} is not running")
        container_id = str(found["containerID"]).partition("://")[2]
        signal = fault.get("signal", _KILL)
        if not isinstance(signal, int) or not 1 <= signal <= 64:
            raise InvalidInputError(f"signal: {signal!r} is not the number of a signal")
        if out_of_memory:
            signal = _KILL
            agent.disturbances.blame_memory(container_id)
        await agent.runtime.kill_container(container_id, signal)
        return f"container {wanted} of pod {fault['pod']} got signal {signal}"

    async def _pod(self, fault: Fault) -> tuple[Object, NodeAgent]:
        namespace, name = _pod_name(fault)
        pod = await self._api.get(PODS, name, namespace=namespace)
        agent = self._agents.get(_node_of(pod))
        if agent is None:
            raise ApiError(400, "BadRequest", f"pod {namespace}/{name} does not run as containers here")
        return pod, agent


def _pod_name(fault: Fault) -> tuple[str, str]:
    namespace, separator, name = str(fault.get("pod") or "").partition("/")
    if not separator or not name:
        raise InvalidInputError(f"pod: {fault.get('pod')!r}; write NAMESPACE/NAME")
    return namespace, name


def _node_of(pod: Object) -> str:
    return str((pod.get("spec") or {}).get("nodeName") or "")


def _seconds(fault: Fault) -> float:
    value = fault.get("seconds", 0)
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
        raise InvalidInputError(f"seconds: {value!r} is not a number from 0 on")
    return float(value)


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(sorted(names)) or "none"
