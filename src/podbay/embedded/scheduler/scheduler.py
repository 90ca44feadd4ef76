"""The scheduler's loop: watch pods, nodes and claims, decide, bind, and say why not.

Thin: decisions are `algorithm.schedule`, order is `queue.Queue`. Event driven; a pod that fits nowhere is looked at
again when something changes that could help. Source: pkg/scheduler/{scheduler,schedule_one,eventhandlers}.go.
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass

from podbay.aio.alarm import Alarm
from podbay.aio.backoff import Backoff
from podbay.aio.clock import Clock
from podbay.aio.informer import InformerSet
from podbay.aio.tasks import Service
from podbay.embedded.scheduler.algorithm import Placement, Unschedulable, schedule
from podbay.embedded.scheduler.cache import Cache, PodInfo
from podbay.embedded.scheduler.conditions import condition_patch, with_condition
from podbay.embedded.scheduler.cycle import View
from podbay.embedded.scheduler.messages import truncate_note
from podbay.embedded.scheduler.preemption import Preemption
from podbay.embedded.scheduler.queue import Change, Queue, QueuedPod
from podbay.embedded.scheduler.recorder import Recorder
from podbay.errors import ApiError
from podbay.objects.api import ClusterApi
from podbay.objects.meta import Object, labels_of
from podbay.objects.resource import GVR

__all__ = ["Scheduler", "SchedulerOptions"]

log = logging.getLogger(__name__)

PODS = GVR("", "v1", "pods")
NODES = GVR("", "v1", "nodes")
NAMESPACES = GVR("", "v1", "namespaces")
CLAIMS = GVR("", "v1", "persistentvolumeclaims")
VOLUMES = GVR("", "v1", "persistentvolumes")


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerOptions:
    """How the scheduler runs."""

    name: str = "default-scheduler"
    """Pods with this spec.schedulerName are ours."""
    seed: int | None = None
    """Breaks ties between equally good nodes; None takes a fresh one, as kube-scheduler does."""
    claims: bool = True
    """The cluster serves PersistentVolumeClaims."""
    volumes: bool = False
    """The cluster serves PersistentVolumes (their node affinity is honoured)."""
    delayed_classes: frozenset[str] = frozenset()
    """Storage classes with volumeBindingMode WaitForFirstConsumer."""


class Scheduler:
    """One scheduler for one cluster. `service.ready` is set when the first lists are in."""

    def __init__(
        self, api: ClusterApi, informers: InformerSet, clock: Clock, options: SchedulerOptions | None = None
    ) -> None:
        self.options = options or SchedulerOptions()
        self.cache = Cache()
        self.queue = Queue()
        self._api = api
        self._clock = clock
        self._informers = informers
        self._rng = random.Random(self.options.seed)
        self._wake = asyncio.Event()
        self._alarm = Alarm(clock, self._wake.set, name="scheduler/back-off")
        self._backoff = Backoff(initial=1.0, maximum=10.0)
        """podInitialBackoffSeconds and podMaxBackoffSeconds of the default configuration."""
        self._recorder = Recorder(
            api, clock, controller=self.options.name, instance=f"{self.options.name}-podbay"
        )

    async def run(self, service: Service) -> None:
        """Schedule until cancelled."""
        sources = {PODS: self._on_pod, NODES: self._on_node}
        if self.options.claims:
            sources[CLAIMS] = self._on_claim
        if self.options.volumes:
            sources[VOLUMES] = self._on_claim
        self._informers.informer(NAMESPACES)
        # Nodes first: a pod that is tried before the nodes are known would be refused for nothing.
        for resource in (NODES, CLAIMS, VOLUMES, PODS):
            if resource in sources:
                self._informers.informer(resource).add_handler(sources[resource])
        await self._informers.wait_synced()
        service.ready.set()
        try:
            await self._loop()
        finally:
            await self._alarm.aclose()

    async def _loop(self) -> None:
        while True:
            next_due = self.queue.due(self._clock.monotonic())
            item = self.queue.pop()
            if item is None:
                if next_due is not None:
                    self._alarm.set(next_due)
                await self._wake.wait()
                self._wake.clear()
                continue
            await self._attempt(item)
            # An API in the same process may never suspend; others must get their turn.
            await asyncio.sleep(0)

    # --- what the watches say ---------------------------------------------------------------------------------

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        pod = new if new is not None else old
        assert pod is not None
        uid = pod["metadata"].get("uid") or ""
        node = pod["spec"].get("nodeName")
        over = new is None or _is_terminal(pod)
        if node and not over:
            self._assigned(pod, uid, node)
        elif over:
            self.queue.discard(uid)
            self.cache.nominated.pop(uid, None)
            if self.cache.remove_pod(uid):
                self._changed(Change.POD_GONE)
            else:
                self._wake.set()
        elif self._is_ours(pod):
            self._pending(pod, uid)
        else:
            self.queue.discard(uid)

    def _assigned(self, pod: Object, uid: str, node: str) -> None:
        self.queue.discard(uid)
        if self.cache.assigned_to(uid) == node:
            self.cache.refresh(uid, pod)
            return
        self.cache.add_pod(PodInfo.of(pod), node)
        self._changed(Change.POD_ADDED)

    def _pending(self, pod: Object, uid: str) -> None:
        if self.cache.assigned_to(uid):
            return
        if pod["metadata"].get("deletionTimestamp") or pod["spec"].get("schedulingGates"):
            self.queue.discard(uid)
            return
        info = PodInfo.of(pod)
        nominated = (pod.get("status") or {}).get("nominatedNodeName")
        if nominated:
            self.cache.nominated[uid] = (info, nominated)
        self.queue.add(info)
        self._wake.set()

    def _is_ours(self, pod: Object) -> bool:
        return (pod["spec"].get("schedulerName") or "default-scheduler") == self.options.name

    def _on_node(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self.cache.remove_node(old["metadata"]["name"])
            return
        before = None if old is None else _node_facts(old)
        if before != _node_facts(new):
            self.cache.set_node(new)
            self._changed(Change.NODE)

    def _on_claim(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._changed(Change.CLAIM)

    def _changed(self, change: Change) -> None:
        if self.queue.changed(change):
            self._wake.set()

    # --- one attempt ------------------------------------------------------------------------------------------

    def _view(self) -> View:
        informers = self._informers
        namespaces = {n: labels_of(o) for n, o in informers.informer(NAMESPACES).store.items()}
        return View(
            self.cache.nodes,
            self.cache.with_anti_affinity,
            namespaces,
            informers.informer(CLAIMS).store if self.options.claims else {},
            informers.informer(VOLUMES).store if self.options.volumes else {},
            self.options.delayed_classes,
        )

    async def _attempt(self, item: QueuedPod) -> None:
        outcome = schedule(item.pod, self._view(), self.cache.nominated, self._rng)
        if isinstance(outcome, Placement):
            await self._bind(item, outcome.node)
        else:
            await self._refuse(item, outcome)

    async def _bind(self, item: QueuedPod, node: str) -> None:
        pod = item.pod
        nominated = self.cache.nominated.get(pod.uid)
        self.cache.add_pod(pod, node)
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"namespace": pod.namespace, "name": pod.name, "uid": pod.uid},
            "target": target,
        }
        try:
            await self._api.create(
                PODS, binding, namespace=pod.namespace, name=pod.name, subresource="binding"
            )
        except ApiError as error:
            self.cache.remove_pod(pod.uid)
            if nominated:
                self.cache.nominated[pod.uid] = nominated
            await self._binding_failed(item, error)
            return
        self.queue.bound(item)
        note = f"Successfully assigned {pod.key} to {node}"
        await self._recorder.record(pod.pod, type="Normal", reason="Scheduled", action="Binding", note=note)

    async def _binding_failed(self, item: QueuedPod, error: ApiError) -> None:
        # The pod is gone, was bound by somebody else, or its namespace is ending: the watch tells.
        if error.code in (404, 409) or error.reason == "Forbidden":
            self.queue.discard(item.pod.uid)
            return
        log.warning("binding %s: %s", item.pod.key, error.message)
        self.queue.retry(item, self._clock.monotonic() + self._backoff.delay(item.attempts - 1))
        await self._report(
            item.pod,
            f'binding rejected: running Bind plugin "DefaultBinder": {error.message}',
            "SchedulerError",
        )

    async def _refuse(self, item: QueuedPod, refusal: Unschedulable) -> None:
        pod, outcome = item.pod, refusal.preemption
        nominate: str | None = ""
        if outcome is not None and outcome.node:
            await self._preempt(pod, outcome)
            self.cache.nominated[pod.uid] = (pod, outcome.node)
            nominate = outcome.node
        elif outcome is not None and outcome.keep_nomination:
            nominate = None
        else:
            self.cache.nominated.pop(pod.uid, None)
        self.queue.park(item, refusal)
        await self._report(pod, refusal.message, "Unschedulable", nominate)

    async def _report(self, pod: PodInfo, message: str, reason: str, nominate: str | None = None) -> None:
        """FailedScheduling and the PodScheduled condition; nominate None leaves the nominated node alone."""
        note = truncate_note(message)
        await self._recorder.record(
            pod.pod, type="Warning", reason="FailedScheduling", action="Scheduling", note=note
        )
        patch = condition_patch(
            pod.pod, reason=reason, message=message, now=self._clock.now(), nominate=nominate
        )
        if patch is None:
            return
        try:
            await self._api.patch(PODS, pod.name, patch, namespace=pod.namespace, subresource="status")
        except ApiError as error:
            log.debug("condition of %s: %s", pod.key, error.message)

    async def _preempt(self, pod: PodInfo, outcome: Preemption) -> None:
        for victim in outcome.victims:
            if victim.terminating:
                continue
            try:
                await self._evict(pod, victim, outcome.node)
            except ApiError as error:
                log.debug("preempting %s: %s", victim.key, error.message)

    async def _evict(self, pod: PodInfo, victim: PodInfo, node: str) -> None:
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": f"{self.options.name}: preempting to accommodate a higher priority pod",
        }
        conditions = with_condition(victim.pod, condition, self._clock.now())
        if conditions is not None:
            await self._api.patch(
                PODS,
                victim.name,
                {"status": {"conditions": conditions}},
                namespace=victim.namespace,
                subresource="status",
            )
        options = {"preconditions": {"uid": victim.uid}}
        await self._api.delete(PODS, victim.name, namespace=victim.namespace, options=options)
        await self._recorder.record(
            victim.pod,
            type="Normal",
            reason="Preempted",
            action="Preempting",
            note=f"Preempted by pod {pod.uid} on node {node}",
            related=pod.pod,
        )


def _is_terminal(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _node_facts(node: Object) -> tuple[object, ...]:
    """What of a node matters here; heartbeats change none of it."""
    spec, status = node.get("spec") or {}, node.get("status") or {}
    return (
        labels_of(node),
        spec.get("taints"),
        spec.get("unschedulable"),
        status.get("allocatable"),
        status.get("capacity"),
    )
