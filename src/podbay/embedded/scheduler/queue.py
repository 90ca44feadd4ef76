"""Which pod is tried next, and which ones wait for what.

Three places, as in kube-scheduler: active (by priority, then time), waiting (unschedulable until something changes
that could help), delayed (an error; tried again after a back-off). No I/O, no clock of its own.

One deviation makes thousands of waiting pods cheap: pods that were rejected for the same reasons and ask for the
same things share a class. When a pod goes away, only the first of each class is tried; the next follows if that one
found a place. kube-scheduler wakes all of them, with the same result. Changes of nodes or claims wake every pod.
Source: pkg/scheduler/backend/queue/scheduling_queue.go.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from enum import Enum

import orjson

from podbay.embedded.scheduler.algorithm import Unschedulable
from podbay.embedded.scheduler.cache import PodInfo

__all__ = ["Change", "Queue", "QueuedPod"]


class Change(Enum):
    """What happened in the cluster that may let a waiting pod in."""

    POD_GONE = "AssignedPodDelete"
    POD_ADDED = "AssignedPodAdd"
    NODE = "NodeChange"
    CLAIM = "PersistentVolumeClaimChange"


_PLUGINS_HELPED = {
    Change.POD_ADDED: frozenset(["InterPodAffinity", "PodTopologySpread"]),
    Change.CLAIM: frozenset(["VolumeBinding"]),
}
_INDIVIDUAL = frozenset(["InterPodAffinity", "PodTopologySpread", "VolumeBinding"])
"""Plugins that look at the pod's own labels or claims: their pods are classes of one."""


@dataclass(slots=True, eq=False)
class QueuedPod:
    """A pod in the queue. order sorts the active heap; waits_for says why it waits."""

    pod: PodInfo
    sequence: int
    attempts: int = 0
    waits_for: Unschedulable | None = None
    waiting_class: bytes = b""
    taken_at: int = 0

    @property
    def order(self) -> tuple[int, int]:
        return (-self.pod.priority, self.sequence)


@dataclass(slots=True)
class _Class:
    """Waiting pods that stand or fall together; trying is the one that was let out."""

    heap: list[tuple[int, str]] = field(default_factory=list)
    pods: dict[str, QueuedPod] = field(default_factory=dict)
    trying: str = ""

    def push(self, item: QueuedPod) -> None:
        self.pods[item.pod.uid] = item
        heapq.heappush(self.heap, (item.sequence, item.pod.uid))

    def pop(self) -> QueuedPod | None:
        while self.heap:
            _, uid = heapq.heappop(self.heap)
            item = self.pods.pop(uid, None)
            if item is not None:
                return item
        return None


class Queue:
    """See the module docstring. A pod is in one place only; `pop` takes it out until `park`, `retry` or `bound`."""

    def __init__(self) -> None:
        self._active: list[tuple[tuple[int, int], str]] = []
        self._items: dict[str, QueuedPod] = {}
        self._places: dict[str, str] = {}
        self._classes: dict[bytes, _Class] = {}
        self._delayed: list[tuple[float, str]] = []
        self._sequence = 0
        self._changes = 0
        self._last_change: dict[Change, int] = {}

    def __contains__(self, uid: str) -> bool:
        return uid in self._items

    @property
    def waiting(self) -> int:
        """Pods that wait for a change."""
        return sum(len(c.pods) for c in self._classes.values())

    def add(self, pod: PodInfo) -> None:
        """A pod to schedule, or a newer version of one. A waiting pod is tried again if its own wishes changed."""
        item = self._items.get(pod.uid)
        if item is None:
            self._sequence += 1
            item = self._items[pod.uid] = QueuedPod(pod, self._sequence)
            self._activate(item)
            return
        changed = _wishes(item.pod) != _wishes(pod)
        item.pod = pod
        if changed and self._places[pod.uid] == "waiting":
            self._leave_class(item)
            self._activate(item)

    def get(self, uid: str) -> QueuedPod | None:
        return self._items.get(uid)

    def discard(self, uid: str) -> None:
        """The pod was deleted, finished, or bound by somebody."""
        item = self._items.pop(uid, None)
        if item is None:
            return
        place = self._places.pop(uid)
        if place == "waiting":
            self._leave_class(item)
        else:
            self._next_of_class(item)

    def pop(self) -> QueuedPod | None:
        """The most important pod that may fit; None when there is none right now."""
        while self._active:
            order, uid = heapq.heappop(self._active)
            item = self._items.get(uid)
            if item is not None and self._places.get(uid) == "active" and item.order == order:
                self._places[uid] = "taken"
                item.attempts += 1
                item.taken_at = self._changes
                return item
        return None

    def park(self, item: QueuedPod, refusal: Unschedulable) -> None:
        """No node takes the pod: it waits for a change, unless one that may help came during the attempt."""
        uid = item.pod.uid
        if uid not in self._items:
            return
        item.waits_for = refusal
        if any(at > item.taken_at and _helps(change, refusal) for change, at in self._last_change.items()):
            self._activate(item)
            return
        if item.waiting_class and self._classes.get(item.waiting_class, _Class()).trying == uid:
            self._classes[item.waiting_class].trying = ""
        item.waiting_class = _class_of(item.pod, refusal)
        self._classes.setdefault(item.waiting_class, _Class()).push(item)
        self._places[uid] = "waiting"

    def retry(self, item: QueuedPod, at: float) -> None:
        """An error ended the attempt: the pod is active again at the given monotonic time."""
        if item.pod.uid in self._items:
            self._places[item.pod.uid] = "delayed"
            heapq.heappush(self._delayed, (at, item.pod.uid))

    def bound(self, item: QueuedPod) -> None:
        """The pod found its place: the next of its class may try."""
        self.discard(item.pod.uid)

    def changed(self, change: Change) -> bool:
        """Let out what the change may help; True when something became active."""
        self._changes += 1
        self._last_change[change] = self._changes
        woken = False
        for name, members in list(self._classes.items()):
            first = next(iter(members.pods.values()), None)
            if first is None:
                if not members.trying:
                    del self._classes[name]
                continue
            if first.waits_for is None or not _helps(change, first.waits_for):
                continue
            if change is Change.POD_GONE:
                woken = self._try_first(members) or woken
            else:
                woken = True
                for item in list(members.pods.values()):
                    self._leave_class(item)
                    self._activate(item)
        return woken

    def due(self, now: float) -> float | None:
        """Activate delayed pods whose time has come; the time of the next one, or None."""
        while self._delayed and self._delayed[0][0] <= now:
            _, uid = heapq.heappop(self._delayed)
            item = self._items.get(uid)
            if item is not None and self._places.get(uid) == "delayed":
                self._activate(item)
        return self._delayed[0][0] if self._delayed else None

    def _activate(self, item: QueuedPod) -> None:
        self._places[item.pod.uid] = "active"
        heapq.heappush(self._active, (item.order, item.pod.uid))

    def _try_first(self, members: _Class) -> bool:
        if members.trying:
            return False
        item = members.pop()
        if item is None:
            return False
        members.trying = item.pod.uid
        self._activate(item)
        return True

    def _leave_class(self, item: QueuedPod) -> None:
        members = self._classes.get(item.waiting_class)
        if members is not None:
            members.pods.pop(item.pod.uid, None)

    def _next_of_class(self, item: QueuedPod) -> None:
        members = self._classes.get(item.waiting_class)
        if members is None or members.trying != item.pod.uid:
            return
        members.trying = ""
        self._try_first(members)


def _helps(change: Change, refusal: Unschedulable) -> bool:
    if change is Change.NODE:
        return True
    if change is Change.POD_GONE:
        return bool(refusal.room_helps)
    return bool(_PLUGINS_HELPED[change] & refusal.plugins)


def _wishes(pod: PodInfo) -> tuple[object, ...]:
    """What of a pending pod can change and matter: labels, tolerations, selectors, requests."""
    spec = pod.pod["spec"]
    return (
        dict(pod.labels),
        spec.get("tolerations"),
        spec.get("nodeSelector"),
        spec.get("affinity"),
        pod.requests,
        pod.priority,
        spec.get("schedulingGates"),
    )


def _class_of(pod: PodInfo, refusal: Unschedulable) -> bytes:
    if refusal.plugins & _INDIVIDUAL or (refusal.preemption and refusal.preemption.node):
        return pod.uid.encode()
    spec = pod.pod["spec"]
    wishes = (
        pod.priority,
        spec.get("preemptionPolicy"),
        spec.get("nodeSelector"),
        (spec.get("affinity") or {}).get("nodeAffinity"),
        spec.get("tolerations"),
        sorted(pod.requests.items()),
        sorted(pod.ports),
        sorted(refusal.plugins),
    )
    return orjson.dumps(wishes, option=orjson.OPT_SORT_KEYS)
