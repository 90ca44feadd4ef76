"""One pod on this node: looks at what is, decides, acts, reports, and looks again when something changed.

Nothing is polled: runtime events, API changes, probe results and timers wake the worker. Order of a look: report, then
act, as the kubelet's syncPod does. Source: pkg/kubelet/kubelet.go (SyncPod, SyncTerminatingPod, SyncTerminatedPod).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from podbay.aio.alarm import Alarm
from podbay.aio.tasks import TaskGroup
from podbay.errors import ApiError, PodbayError
from podbay.node.actions import Actions, Stop, decide
from podbay.node.ending import PodEnding
from podbay.node.messages import read_messages
from podbay.node.mounting import PodMounts
from podbay.node.observed import ContainerState, ContainerStatus, SandboxStatus
from podbay.node.parts import NodeParts
from podbay.node.podspec import find_container, grace_period, is_terminal, pod_text
from podbay.node.probing import PodProbes
from podbay.node.record import PodRecord
from podbay.node.references import read_objects
from podbay.node.reporting import StatusReporter
from podbay.node.sandboxing import PodSandbox
from podbay.node.starting import ContainerStarter
from podbay.node.stopping import stop_container
from podbay.node.times import parse_time
from podbay.node.view import Outcome
from podbay.objects.meta import Object, annotations_of, labels_of, uid_of

__all__ = ["PodWorker"]

log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0
"""After an API or runtime that did not answer."""
_RELEASE_SECONDS = 2.0
"""How long an ended pod that finalizers hold keeps its grace period in the API (the kubelet: up to ten seconds)."""
_DEADLINE = "Pod was active on the node longer than the specified deadline"


class PodWorker:
    """Runs one pod until it is gone. The methods beside `run` tell it what happened; they return at once."""

    def __init__(
        self,
        parts: NodeParts,
        pod: Object,
        *,
        sandbox: SandboxStatus | None = None,
        containers: Sequence[ContainerStatus] = (),
        old_sandboxes: Sequence[str] = (),
    ) -> None:
        self.record = PodRecord(pod=pod, sandbox=sandbox)
        for status in containers:
            self.record.note(status)
        self._parts = parts
        self._reporter = StatusReporter(parts, self.record)
        self._starter = ContainerStarter(parts, self.record)
        self._mounts = PodMounts(parts, self.record)
        self._sandbox = PodSandbox(parts, self.record, self._mounts, old=list(old_sandboxes))
        self._changed = asyncio.Event()
        self._must_end = asyncio.Event()
        self._gone = False
        self._finished = False
        self._retry_at = 0.0
        self._release_at = 0.0
        self._objects_changed = False
        self._told = _told_to_pods(pod)
        self._admitted = bool((pod.get("status") or {}).get("startTime")) or sandbox is not None
        if is_terminal(pod) and not any(s.state == ContainerState.RUNNING for s in containers):
            self.record.ended = True
        self._check_deletion()

    # --- what others tell ---------------------------------------------------------------------------------------

    @property
    def status(self) -> Object:
        """The status reported last."""
        return self._reporter.last

    def update(self, pod: Object) -> None:
        """The API's object changed."""
        self.record.pod = pod
        if self._reporter.is_own(pod):
            return
        self._check_deletion()
        self._changed.set()

    def removed(self) -> None:
        """The API's object is gone: stop everything."""
        self._gone = True
        self._must_end.set()
        self._changed.set()

    def observe(self, status: ContainerStatus | SandboxStatus) -> None:
        """The runtime tells something about this pod."""
        if isinstance(status, SandboxStatus):
            if self.record.sandbox is None or self.record.sandbox.id == status.id:
                self.record.sandbox = status
                self._changed.set()
        elif self.record.note(status):
            self._changed.set()

    def objects_changed(self) -> None:
        """A Secret or ConfigMap that the pod names changed."""
        self._objects_changed = True
        self._changed.set()

    def evict(self, outcome: Outcome) -> None:
        """The node ends the pod."""
        if self.record.outcome is None and not self.record.ended:
            self.record.outcome = outcome
            self._must_end.set()
            self._changed.set()

    def _check_deletion(self) -> None:
        # Others may end a pod by its status alone: what still runs of it must stop.
        ended_by_others = is_terminal(self.record.pod) and not self.record.ended
        if ended_by_others or self.record.pod["metadata"].get("deletionTimestamp"):
            self._must_end.set()

    # --- the loop -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Live with the pod; returns when nothing of it is left on the node."""
        alarm = Alarm(self._parts.clock, self._changed.set, name=f"pod/{uid_of(self.record.pod)}")
        async with TaskGroup(f"pod/{uid_of(self.record.pod)}") as group:
            self._group = group
            self._probes = PodProbes(self._parts, self.record, group, self._changed.set)
            try:
                while not self._finished:
                    self._changed.clear()
                    await self._step()
                    if self._finished:
                        break
                    seconds = self._next_look()
                    if seconds is not None:
                        alarm.set(self._parts.clock.monotonic() + seconds)
                    await self._changed.wait()
            finally:
                await alarm.aclose()

    def _next_look(self) -> float | None:
        now = self._parts.clock.monotonic()
        times = [
            t for t in (self.record.next_look(now, self._wall()), self._deadline_seconds()) if t is not None
        ]
        if self._retry_at > now:
            times.append(self._retry_at - now)
        if not self.record.ended:
            waits = (self._mounts.next_look(), self._sandbox.next_look(), self._renewal_seconds())
            times += [t for t in waits if t is not None]
        return max(0.0, min(times)) if times else None

    def _renewal_seconds(self) -> float | None:
        """Until a token is to be renewed, or the renewal that failed is tried again."""
        seconds = self._parts.tokens.renew_seconds(self.record.pod)
        return None if seconds is None or self.record.sandbox is None else max(seconds, _RETRY_SECONDS)

    def _wall(self) -> float:
        return self._parts.clock.now().timestamp()

    async def _step(self) -> None:
        """One look. Errors of the API or the runtime are tried again after a while."""
        try:
            if self._must_end.is_set():
                await self._end()
            elif not self.record.ended:
                await self._sync_interruptibly()
        except (ApiError, PodbayError, OSError) as error:
            log.warning("pod %s: %s", pod_text(self.record.pod), error)
            self._retry_at = self._parts.clock.monotonic() + _RETRY_SECONDS

    async def _sync_interruptibly(self) -> None:
        """A look that a deletion cuts short, whatever it is waiting for."""
        failed: list[PodbayError | OSError] = []

        async def look() -> None:
            try:
                await self._sync()
            except (PodbayError, OSError) as error:
                failed.append(error)

        service = self._group.start("sync", look())
        await _first(service.done, self._must_end)
        if not service.done.is_set():
            await service.aclose()
            self._changed.set()
        if failed:
            raise failed[0]

    async def _sync(self) -> None:
        record, parts = self.record, self._parts
        if self._past_deadline() or not await self._admit():
            return
        await read_messages(parts.runtime, record, self._wall())
        await self._remove_outdated()
        if not await self._reporter.report():
            self.removed()
            return
        await self._probes.follow()
        await self._refresh_volumes()
        await self._sandbox.open_ways_in()
        view = record.view(parts.clock.monotonic(), self._wall())
        actions = decide(view)
        if actions.finish:
            self._must_end.set()
            self._changed.set()
            return
        await self._carry_out(actions)

    async def _admit(self) -> bool:
        """Whether the node takes the pod in; one that has begun was taken in before."""
        record = self.record
        if self._admitted:
            return True
        self._admitted = True
        refused = await self._parts.refuse(record.pod)
        if refused is None:
            return True
        self._parts.recorder.pod(record.pod, "Warning", refused.reason, refused.message)
        record.ended = True
        await self._reporter.reject(Outcome(refused.reason, f"Pod was rejected: {refused.message}"))
        return False

    def _deadline_seconds(self) -> float | None:
        seconds = self.record.pod["spec"].get("activeDeadlineSeconds")
        started = self.status.get("startTime")
        if seconds is None or not started or self.record.ended or self._must_end.is_set():
            return None
        return parse_time(started) + float(seconds) - self._wall()

    def _past_deadline(self) -> bool:
        left = self._deadline_seconds()
        if left is None or left > 0:
            return False
        self._parts.recorder.pod(self.record.pod, "Normal", "DeadlineExceeded", _DEADLINE)
        self.evict(Outcome("DeadlineExceeded", _DEADLINE))
        return True

    # --- acting -------------------------------------------------------------------------------------------------

    async def _carry_out(self, actions: Actions) -> None:
        if actions.stop:
            await asyncio.gather(*(self._stop(stop) for stop in actions.stop))
            self._changed.set()
        if actions.new_sandbox:
            if not await self._sandbox.make():
                return
            actions = decide(self.record.view(self._parts.clock.monotonic(), self._wall()))
            if not await self._starter.has_images(actions.start):
                # The next step may take long: the sandbox is to be seen before.
                self._changed.set()
                return
        for name in actions.start:
            if not self._starter.is_due(name):
                continue
            prepared = await self._mounts.ready()
            if prepared is None:
                return
            if await self._starter.start(name, prepared):
                await self._probes.follow()
            self._changed.set()

    async def _stop(self, stop: Stop) -> None:
        container = find_container(self.record.pod["spec"], stop.name)
        assert container is not None
        grace = float(grace_period(self.record.pod))
        if stop.cause:
            own = (container.get(f"{stop.cause}Probe") or {}).get("terminationGracePeriodSeconds")
            grace = grace if own is None else float(own)
        await stop_container(
            self._parts, self.record, container, stop.container_id, message=stop.message, grace=grace
        )

    async def _refresh_volumes(self) -> None:
        metadata = _told_to_pods(self.record.pod)
        due = (self._parts.tokens.renew_seconds(self.record.pod) or 1.0) <= 0
        if not (self._objects_changed or due or metadata != self._told):
            return
        self._objects_changed, self._told = False, metadata
        self.record.retry_all()
        self._mounts.retry_now()
        if self.record.sandbox is not None:
            objects = await read_objects(self._parts.api, self.record.pod)
            await self._parts.volumes.refresh(self.record.pod, objects)

    async def _remove_outdated(self) -> None:
        for status in self.record.outdated():
            await self._parts.runtime.remove_container(status.id)

    async def _end(self) -> None:
        ending = PodEnding(self._parts, self.record, self._group, self._changed)
        if not self.record.ended:
            await self._probes.stop()
            await ending.stop_all(override=self._grace_override())
            self.record.ended = True
            await read_messages(self._parts.runtime, self.record, self._wall())
        if not self._gone and not await self._reporter.report(final=True):
            self._gone = True
        metadata = self.record.pod["metadata"]
        if not self._gone and metadata.get("deletionTimestamp") and metadata.get("finalizers"):
            # Others hold the object: status and logs stay until it is gone.
            if self._release_at == 0.0:
                self._release_at = self._retry_at = self._parts.clock.monotonic() + _RELEASE_SECONDS
            elif self._release_at <= self._parts.clock.monotonic():
                self._must_end.clear()
                await ending.release()
        elif self._gone or metadata.get("deletionTimestamp"):
            await ending.clean_up(self._sandbox.old)
            if not self._gone:
                await ending.release()
            self._finished = True
        else:
            self._must_end.clear()
            await ending.slim()

    def _grace_override(self) -> float | None:
        evicted = self.record.outcome is not None and self.record.outcome.reason == "Evicted"
        return 0.0 if evicted else None


def _told_to_pods(pod: Object) -> tuple[Object, Object]:
    """What downwardAPI volumes follow while the pod lives."""
    return labels_of(pod), annotations_of(pod)


async def _first(*events: asyncio.Event) -> None:
    """Return when one of the events is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
