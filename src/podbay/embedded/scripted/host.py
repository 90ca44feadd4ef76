"""Runs scripted nodes: registers them, keeps their heartbeats, plays their pods' lives and reports them.

One asyncio task and one heap serve all pods of all nodes, so thousands of pods cost no tasks. Thin: what happens in a
pod is `life`, what is reported is `status`.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from podbay.aio.alarm import Alarm
from podbay.aio.clock import Clock
from podbay.aio.informer import Informer
from podbay.aio.tasks import TaskGroup
from podbay.apiserver import status as refusals
from podbay.apiserver.streams import (
    ExecOptions,
    ExecSession,
    LogOptions,
    NodeStreams,
    NodeUsage,
    PortStream,
    Use,
)
from podbay.embedded.scripted.heartbeat import Heartbeat
from podbay.embedded.scripted.life import PodLife
from podbay.embedded.scripted.logs import check_log_request, read_log
from podbay.embedded.scripted.nodes import ScriptedNode
from podbay.embedded.scripted.script import DEFAULT_SCRIPT, Attempt, Rule, Script, Wait
from podbay.embedded.scripted.status import exact_start, pod_status
from podbay.errors import ApiError, ClosedError, InvalidInputError
from podbay.objects.api import ClusterApi
from podbay.objects.meta import Object, name_of, namespace_of, uid_of
from podbay.objects.resource import GVR

__all__ = ["ScriptedNodes"]

log = logging.getLogger(__name__)

PODS = GVR("", "v1", "pods")
_RETRY_SECONDS = 1.0
"""When to report again after the API refused a report."""
_USAGE_WINDOW = 15.0
"""Seconds; a script's use is the same at any time, so the window is that of a metrics-server."""


@dataclass(slots=True, eq=False)
class _Pod:
    """A pod under way. due is its entry in the heap; entries with another time are stale."""

    life: PodLife
    node: str
    ip: str
    due: float = math.inf
    deleting: bool = False
    reported: bool = False
    readers: list[asyncio.Event] = field(default_factory=list)


class ScriptedNodes:
    """A NodeHost for any number of scripted nodes. `run` lives until it is cancelled."""

    def __init__(
        self, nodes: Sequence[ScriptedNode], script: Script = DEFAULT_SCRIPT, *, seed: int = 0
    ) -> None:
        self.nodes = {node.name: node for node in nodes}
        self._script = script
        self._seed = str(seed)
        self._pods: dict[str, _Pod] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._sequence = 0
        self._wake = asyncio.Event()
        self._api: ClusterApi | None = None
        self._clock: Clock | None = None
        self._offset = 0.0
        self._heartbeat: Heartbeat | None = None
        self.streams: dict[str, NodeStreams] = {name: _Streams(self, name) for name in self.nodes}

    @property
    def running_pods(self) -> int:
        """Pods that have not ended."""
        return sum(not pod.life.over for pod in self._pods.values())

    def now(self) -> float:
        """Seconds since the epoch, moving with the clock's monotonic time."""
        if self._clock is None:
            raise ClosedError("the scripted nodes are not running")
        return self._clock.monotonic() + self._offset

    def lose(self, name: str) -> None:
        """The node falls silent: no heartbeat, no reports, no streams. Its pods live on unseen."""
        assert self._heartbeat is not None
        self._heartbeat.lose(name)

    def recover(self, name: str) -> None:
        """The node is back and reports what happened meanwhile."""
        assert self._heartbeat is not None
        self._heartbeat.recover(name)

    async def run(self, api: ClusterApi, clock: Clock) -> None:
        """Register the nodes and play their pods."""
        self._api, self._clock = api, clock
        self._offset = clock.now().timestamp() - clock.monotonic()
        self._heartbeat = Heartbeat(api, clock, self.nodes, on_return=self._catch_up)
        async with TaskGroup("scripted") as group:
            await self._heartbeat.register(group)
            names = list(self.nodes)
            selector = f"spec.nodeName={names[0]}" if len(names) == 1 else ""
            pods = Informer(api, PODS, clock, field_selector=selector, transform=_slim)
            pods.add_handler(self._on_pod)
            group.start("pods", pods.run())
            group.start("heartbeat", self._heartbeat.run())
            await self._loop()

    # --- what the API says ------------------------------------------------------------------------------------

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            gone = self._pods.pop(uid_of(old), None)
            if gone is not None:
                self._tell_readers(gone)
            return
        node = new["spec"].get("nodeName")
        if node not in self.nodes:
            return
        pod = self._pods.get(uid_of(new))
        if pod is None:
            pod = self._admit(new, node)
        pod.life.pod = new
        self._deletion(pod, new["metadata"])

    def _admit(self, obj: Object, node: str) -> _Pod:
        status = obj.get("status") or {}
        if status.get("startTime"):
            started = status.get("started") or exact_start(status)
        else:
            started = round(self.now(), 6)
        life = PodLife(obj, self._rule(obj), started, self._seed)
        pod = self._pods[uid_of(obj)] = _Pod(life, node, status.get("podIP") or self._next_ip())
        if status.get("phase") in ("Succeeded", "Failed"):
            # Ended before this process began: play it to its end for the logs, report nothing.
            life.advance(status.get("finished") or _finished_at(status, started))
            life.over = pod.reported = True
        else:
            self._push(pod, started)
        return pod

    def _rule(self, obj: Object) -> Rule:
        try:
            return self._script.rule_for(obj)
        except InvalidInputError as error:
            wait = Wait(math.inf, "CreateContainerConfigError", str(error))
            return Rule(containers=(("*", (Attempt(waits=(wait,)),)),))

    def _next_ip(self) -> str:
        self._sequence += 1
        number = self._sequence % 65_000 + 2
        return f"10.244.{number // 256}.{number % 256}"

    def _deletion(self, pod: _Pod, metadata: Object) -> None:
        if not metadata.get("deletionTimestamp"):
            return
        first, pod.deleting = not pod.deleting, True
        pod.life.stop(self.now(), float(metadata.get("deletionGracePeriodSeconds") or 0))
        if first or pod.life.next_at < pod.due:
            self._push(pod, min(self.now(), pod.life.next_at) if first else pod.life.next_at)

    # --- the one loop -----------------------------------------------------------------------------------------

    def _push(self, pod: _Pod, at: float) -> None:
        pod.due = at
        if at == math.inf:
            return
        self._sequence += 1
        heapq.heappush(self._heap, (at, self._sequence, uid_of(pod.life.pod)))
        self._wake.set()

    async def _loop(self) -> None:
        assert self._clock is not None
        alarm = Alarm(self._clock, self._wake.set, name="scripted/pods")
        try:
            while True:
                await self._play_due()
                if self._heap:
                    alarm.set(self._heap[0][0] - self._offset)
                await self._wake.wait()
                self._wake.clear()
        finally:
            await alarm.aclose()

    async def _play_due(self) -> None:
        while self._heap and self._heap[0][0] <= self.now() + 1e-6:
            at, _, uid = heapq.heappop(self._heap)
            pod = self._pods.get(uid)
            if pod is not None and pod.due == at:
                await self._play(pod)
                # An in-process API may never suspend; others must get their turn.
                await asyncio.sleep(0)

    async def _play(self, pod: _Pod) -> None:
        assert self._heartbeat is not None
        life = pod.life
        changed = life.advance(self.now() + 1e-6)
        self._push(pod, life.next_at)
        if changed:
            self._tell_readers(pod)
        if self._heartbeat.is_lost(pod.node):
            return
        try:
            if changed or not pod.reported:
                await self._report(pod)
            if pod.deleting and life.over:
                await self._confirm_deletion(pod)
        except ApiError as error:
            self._refused(pod, error)

    def _refused(self, pod: _Pod, error: ApiError) -> None:
        if error.code == 404:
            self._pods.pop(uid_of(pod.life.pod), None)
            return
        log.warning("reporting pod %s: %s", name_of(pod.life.pod), error.message)
        pod.reported = False
        self._push(pod, min(pod.life.next_at, self.now() + _RETRY_SECONDS))

    async def _report(self, pod: _Pod) -> None:
        assert self._api is not None
        status = pod_status(pod.life, self.now(), host_ip="127.0.0.1", pod_ip=pod.ip)
        obj = pod.life.pod
        pod.reported = True
        # Conditions are merged by type, as a kubelet's are: others write some of their own.
        await self._api.patch(
            PODS,
            name_of(obj),
            {"status": status},
            namespace=namespace_of(obj),
            subresource="status",
            patch_type="strategic",
        )

    async def _confirm_deletion(self, pod: _Pod) -> None:
        assert self._api is not None
        obj = pod.life.pod
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid_of(obj)}}
        await self._api.delete(PODS, name_of(obj), namespace=namespace_of(obj), options=options)

    def evict(self, uid: str, message: str) -> bool:
        """End a pod as a node short of something does; False when it has ended or is not here."""
        pod = self._pods.get(uid)
        if pod is None or pod.life.over:
            return False
        pod.life.advance(self.now())
        pod.life.evict(self.now(), message)
        self._tell_readers(pod)
        pod.reported = False
        self._push(pod, self.now())
        return True

    def _catch_up(self, node: str) -> None:
        """The node is back: every pod is reported anew, its readiness was taken away meanwhile."""
        for pod in self._pods.values():
            if pod.node == node and (not pod.life.over or pod.deleting or not pod.reported):
                pod.reported = False
                self._push(pod, self.now())

    # --- use --------------------------------------------------------------------------------------------------

    def usage(self, node: str) -> NodeUsage:
        """What the script says that the running containers use; the node uses no more than they do together."""
        assert self._clock is not None
        pods = {
            uid: used for uid, pod in self._pods.items() if pod.node == node and (used := pod.life.usage())
        }
        every = [use for containers in pods.values() for use in containers.values()]
        total = Use(sum(u.cpu_nanos for u in every), sum(u.memory_bytes for u in every))
        return NodeUsage(timestamp=self._clock.now(), window=_USAGE_WINDOW, node=total, pods=pods)

    # --- logs -------------------------------------------------------------------------------------------------

    def _tell_readers(self, pod: _Pod) -> None:
        for reader in pod.readers:
            reader.set()

    def open_log(self, obj: Object, options: LogOptions) -> AsyncGenerator[bytes, None]:
        """The log of one container (see NodeStreams.logs); refusals are raised here."""
        pod = self._pods.get(uid_of(obj))
        if pod is None:
            raise refusals.bad_request(
                f'container "{options.container}" in pod "{name_of(obj)}" is waiting to start: ContainerCreating'
            )
        check_log_request(pod.life, options)
        return self._read_log(pod, options)

    async def _read_log(self, pod: _Pod, options: LogOptions) -> AsyncGenerator[bytes, None]:
        assert self._clock is not None
        changes = asyncio.Event()
        pod.readers.append(changes)
        reading = read_log(pod.life, options, clock=self._clock, axis=self.now, changes=changes)
        try:
            async for chunk in reading:
                yield chunk
        finally:
            await reading.aclose()
            pod.readers.remove(changes)


class _Streams:
    """NodeStreams of one scripted node: logs only, there is nothing to execute in."""

    def __init__(self, host: ScriptedNodes, node: str) -> None:
        self._host = host
        self._node = node

    async def logs(self, pod: Object, options: LogOptions) -> AsyncGenerator[bytes, None]:
        return self._host.open_log(pod, options)

    async def usage(self) -> NodeUsage:
        return self._host.usage(self._node)

    async def exec(self, pod: Object, options: ExecOptions) -> ExecSession:
        raise self._nothing(pod)

    async def attach(self, pod: Object, options: ExecOptions) -> ExecSession:
        raise self._nothing(pod)

    async def port_forward(self, pod: Object, port: int) -> PortStream:
        raise self._nothing(pod)

    def _nothing(self, pod: Object) -> ApiError:
        return refusals.bad_request(
            f"pod {name_of(pod)} is on the scripted node {self._node}: it follows a script and has no containers"
        )


_POD_FIELDS = {
    "metadata": [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "labels",
        "annotations",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ],
    "spec": ["nodeName", "restartPolicy", "activeDeadlineSeconds"],
    "status": ["phase", "startTime", "podIP", "conditions", "containerStatuses", "initContainerStatuses"],
}


_CONTAINER_FIELDS = ("name", "image", "resources", "restartPolicy")


def _slim(pod: Object) -> Object:
    """What the script, the life and its reports need of a pod: thousands are held until they are deleted."""
    slim: Object = {
        part: {name: pod[part][name] for name in names if name in pod[part]}
        for part, names in _POD_FIELDS.items()
        if part in pod
    }
    over = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    kept = ("name", "restartPolicy") if over else _CONTAINER_FIELDS
    for listed in ("containers", "initContainers"):
        if listed in pod["spec"]:
            slim["spec"][listed] = [{k: c[k] for k in kept if k in c} for c in pod["spec"][listed]]
    if over and not pod["metadata"].get("deletionTimestamp"):
        status = slim["status"]
        finished = _finished_at(status, 0.0)
        started = exact_start(status) if status.get("startTime") else None
        slim["status"] = {k: status[k] for k in ("phase", "startTime", "podIP") if k in status}
        slim["status"] |= {"finished": finished, "started": started}
    return slim


def _finished_at(status: Object, started: float) -> float:
    """When the last container of a finished pod ended."""
    ends = [
        _seconds(state["terminated"]["finishedAt"])
        for field in ("containerStatuses", "initContainerStatuses")
        for state in (c.get("state") or {} for c in status.get(field) or ())
        if (state.get("terminated") or {}).get("finishedAt")
    ]
    # Reported times are whole seconds; the script's are finer.
    return max([started, *ends]) + 1.0


def _seconds(moment: str) -> float:
    return datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
