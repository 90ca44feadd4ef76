"""A cluster, a watch and a driver as one small model, for driving the machine through every order of events.

The world decides nothing by itself: the test picks the next thing that happens. Truth is kept apart from what the
machine is told, so that the outcome can be compared with what really was.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from podbay.errors import ApiError, UnreachableError
from podbay.lifecycle import state as s
from podbay.lifecycle.diagnosis.diagnose import diagnose
from podbay.lifecycle.diagnosis.model import Facts
from podbay.lifecycle.machine import step
from podbay.lifecycle.memory import remembered
from podbay.lifecycle.outcome import Outcome
from podbay.lifecycle.plan import Rules
from podbay.objects.meta import Object, uid_of
from podbay.pods.identity import ALREADY_CHECKED_LABEL, TaskIdentity, identity_annotations, pod_name
from podbay.pods.result import ResultReading
from podbay.pods.sidecar import SIDECAR_NAME

RESULT = b'{"rows": 12}'
NONE_FRAME = "podbay-result/1 none"


def identity(incarnation: int = 0) -> TaskIdentity:
    return TaskIdentity(deployment="d", dag_id="dag", run_id="run", task_id="task", incarnation=incarnation)


@dataclass(repr=False)
class Pod:
    """One pod as it really is."""

    uid: str
    incarnation: int
    exit_code: int
    step: int = 0
    """0 unbound, 1 bound, 2 init runs, 3 main runs, 4 main ended, 5 sidecar ended (phase is final)."""
    deleted_at: int | None = None
    """Step at which somebody asked for its end."""
    disruption: str = ""
    reason: str = ""
    killed: bool = False
    """Containers were ended by a signal."""
    graceful: bool = False
    """The container takes a signal as a reason to exit 0."""
    ever_ran: bool = False
    gone: bool = False
    version: int = 0
    bound: bool = False
    """A node was found for it at some time."""
    checked: bool = False
    """It is marked as kept."""
    former: bool = False
    """A former run of the same name has left it."""

    def __repr__(self) -> str:
        return f"<{self.uid} step {self.step} code {self.exit_code} deleted {self.deleted_at} {self.reason} {self.disruption} killed {self.killed} ran {self.ever_ran}>"  # fmt: skip

    @property
    def running(self) -> bool:
        return not self.gone and self.step in (2, 3)

    def manifest(self) -> Object:
        ended_code = (0 if self.graceful else 143) if self.killed else self.exit_code
        main: dict[str, Any] = {"waiting": {"reason": "PodInitializing"}}
        ran = self.ever_ran
        if self.step == 3:
            main = {"running": {"startedAt": "2026-01-01T00:00:10Z"}}
        elif self.step >= 4 and ran:
            main = {
                "terminated": {
                    "exitCode": ended_code,
                    "reason": "Completed" if ended_code == 0 else "Error",
                    "startedAt": "2026-01-01T00:00:10Z",
                    "finishedAt": "2026-01-01T00:00:20Z",
                    "containerID": "containerd://" + "0" * 64,
                }
            }
        sidecar: dict[str, Any] = (
            {"running": {"startedAt": "2026-01-01T00:00:09Z"}} if self.step >= 2 else {"waiting": {}}
        )
        if self.step >= 5:
            sidecar = {
                "terminated": {"exitCode": 0, "startedAt": "2026-01-01T00:00:09Z", "message": NONE_FRAME}
            }
        status: dict[str, Any] = {"phase": "Pending", "conditions": []}
        if self.step >= 3:
            status["phase"] = "Running"
        if self.step >= 5:
            status["phase"] = "Failed" if (ended_code or self.reason or not ran) else "Succeeded"
        if self.step >= 1:
            status["containerStatuses"] = [{"name": "base", "state": main, "restartCount": 0}]
            status["initContainerStatuses"] = [{"name": SIDECAR_NAME, "state": sidecar, "restartCount": 0}]
        if not ran and self.step < 2:
            status.pop("initContainerStatuses", None)
        if not ran and self.step >= 4:
            status["initContainerStatuses"] = [
                {"name": SIDECAR_NAME, "state": {"waiting": {}}, "restartCount": 0}
            ]
        if self.reason:
            status["reason"] = self.reason
        if self.disruption:
            status["conditions"].append(
                {"type": "DisruptionTarget", "status": "True", "reason": self.disruption, "lastTransitionTime": "2026-01-01T00:00:15Z"}
            )  # fmt: skip
        metadata: dict[str, Any] = {
            "name": pod_name(identity(self.incarnation)),
            "namespace": "ns",
            "uid": self.uid,
            "resourceVersion": str(self.version),
            "annotations": identity_annotations(identity(self.incarnation)),
            "labels": {ALREADY_CHECKED_LABEL: "True"} if self.checked else {},
        }
        if self.deleted_at is not None:
            # The request came when the container had ended, or before: stamps tell it as a real server's would.
            metadata["deletionTimestamp"] = (
                "2026-01-01T00:01:00Z" if self.deleted_at >= 4 else "2026-01-01T00:00:45Z"
            )
            metadata["deletionGracePeriodSeconds"] = 30
        return {
            "kind": "Pod",
            "metadata": metadata,
            "spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "base"}],
                "initContainers": [{"name": SIDECAR_NAME, "restartPolicy": "Always"}],
                **({"nodeName": "node-1"} if self.step >= 1 else {}),
            },
            "status": status,
        }


@dataclass(repr=False)
class World:
    """See the module docstring."""

    rules: Rules
    exit_codes: list[int]
    graceful: bool = False
    busy: bool = False
    """Events that nobody needs are not read."""
    full: bool = False
    """Quota has room for one pod; as in a real API server, it is looked at before the name."""
    secretive: bool = False
    """Events are not for us to read."""
    now: float = 0.0
    pods: dict[str, Pod] = field(default_factory=dict)
    """By name, as the API server has them."""
    all_pods: list[Pod] = field(default_factory=list)
    state: s.State = field(default_factory=s.State)
    todo: list[s.Action] = field(default_factory=list)
    """Actions whose answer has not come yet."""
    watched: list[Object | None] = field(default_factory=list)
    """States of the adopted pod that the watch has still to tell; None: it is gone."""
    adopted: str = ""
    known: set[str] = field(default_factory=set)
    """Uids that some life of the run has heard of."""
    saved: dict[str, Any] = field(default_factory=dict)
    decided: Outcome | None = None
    outcome: Outcome | None = None
    asked: bool = False
    most_running: int = 0
    wakes: list[float] = field(default_factory=list)

    def left(self, incarnation: int, exit_code: int, *, step: int = 5) -> Pod:
        """A former run of the same name has kept this pod."""
        pod = Pod(f"former-{incarnation}", incarnation, exit_code, step, ever_ran=True, bound=True)
        pod.checked = pod.former = True
        self.pods[pod_name(identity(incarnation))] = pod
        return pod

    def begin(self, *, with_checkpoint: bool, told: bool = False, behind: bool = False) -> None:
        """A life of the run begins, perhaps after a crash; told: the last one could still write down what it knew. behind: its
        watch does not have the pods yet."""
        if told:
            self._save()
        self.state = s.State(begun_at=self.now)
        self.todo, self.watched, self.adopted, self.wakes = [], [], "", []
        saved = self.saved if with_checkpoint else {}
        pods = [] if behind else [pod.manifest() for pod in self.pods.values()]
        self.event(s.Found(self.now, pods, **saved))

    def event(self, event: s.Event) -> None:
        self.state, actions = step(self.rules, self.state, event)
        for action in actions:
            # A wake that is due already comes again in the next turn of the loop, and again, and starves all other runs.
            assert not isinstance(action, s.Wake) or action.at > event.now, (action, event, self.state)
            self._take(action)
        self.most_running = max(self.most_running, sum(pod.running for pod in self.pods.values()))

    def _take(self, action: s.Action) -> None:
        match action:
            case s.Adopt(pod=pod):
                self.adopted = uid_of(pod)
                self.known.add(self.adopted)
                self.watched = []
                self.changed(self._pod(self.adopted))
            case s.Save():
                self._save()
            case s.Decide(outcome=outcome):
                self.decided = outcome
                self._save()
                self.todo.append(action)
            case s.Finish(outcome=outcome):
                self.outcome = outcome
            case s.Wake(at=at):
                self.wakes.append(at)
            case s.Tell():
                pass
            case _:
                self.todo.append(action)

    def _save(self) -> None:
        self.saved = {
            "known_uid": self.state.uid,
            "known_name": self.state.name,
            "incarnation": self.state.incarnation,
            "spent": self.state.spent,
            "last": remembered(self.state, "base"),
            "deletion_seen": self.state.deletion_seen,
            "killed_by": "" if self.state.kill_is_deadline else self.state.killed_by,
            "withdrawing": self.state.withdrawal != "no",
            "outcome": self.state.outcome,
        }

    def _pod(self, uid: str) -> Pod | None:
        return next((pod for pod in self.pods.values() if pod.uid == uid), None)

    def changed(self, pod: Pod | None) -> None:
        """The watch will tell it."""
        if pod is None:
            self.watched.append(None)
        elif pod.uid == self.adopted:
            pod.version += 1
            self.watched.append(copy.deepcopy(pod.manifest()))

    # -- what can happen

    def choices(self) -> list[tuple[str, Callable[[], None]]]:
        """Everything that could happen now, without misfortune."""
        found: list[tuple[str, Callable[[], None]]] = []
        for index, action in enumerate(self.todo):
            found.append((f"answer {type(action).__name__}", partial(self.answer, index)))
        if self.watched:
            found.append(("watch", partial(self.tell)))
        for pod in list(self.pods.values()):
            if pod.step < 5 or pod.deleted_at is not None:
                found.append((f"go on {pod.uid}", partial(self.go_on, pod)))
        due = [at for at in self.wakes if at > self.now]
        if due:
            found.append(("time", partial(self.pass_time, min(due))))
        return found

    def answer(self, index: int, trouble: str = "") -> None:
        action = self.todo.pop(index)
        match action:
            case s.Create(incarnation=number):
                self._create(number, trouble)
            case s.Find():
                self._find(action)
            case s.Kill(uid=uid) | s.Delete(uid=uid):
                pod = self._pod(uid)
                if pod is not None:
                    self.delete(pod)
                self.event(s.Cleaned(self.now))
            case s.Mark(uid=uid):
                pod = self._pod(uid)
                if pod is not None:
                    pod.checked = True
                    self.changed(pod)
                self.event(s.Cleaned(self.now))
            case s.Withdraw():
                self._withdraw(action, trouble)
            case s.ReadEvents():
                skipped = not action.needed and self.busy
                events = () if self.secretive else self._events()
                self.event(s.Explained(self.now, events, (), skipped=skipped, unread=self.secretive))
            case s.WaitForLogs():
                self.event(s.LogsRead(self.now))
            case s.ReadResult():
                self.event(s.ResultRead(self.now, ResultReading("none")))
            case s.Decide():
                self.event(s.Decided(self.now))

    def _create(self, number: int, trouble: str) -> None:
        name = pod_name(identity(number))
        there = self.pods.get(name)
        if trouble == "lost before":
            self.event(self._refused(UnreachableError("broken", "reset", maybe_sent=True), doubt=True))
            return
        quota = ApiError(
            403,
            "Forbidden",
            'pods "x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1',
        )
        if trouble == "quota" or (there is not None and self.full and not there.former):
            self.event(self._refused(quota, doubt=trouble == "lost after"))
            return
        if there is not None:
            if trouble == "lost after":
                self.event(self._refused(UnreachableError("broken", "reset", maybe_sent=True), doubt=True))
            else:
                self.event(s.Taken(self.now, there.manifest(), ours=True))
            return
        code = self.exit_codes[min(len(self.all_pods), len(self.exit_codes) - 1)]
        pod = Pod(uid=f"uid-{len(self.all_pods)}", incarnation=number, exit_code=code, graceful=self.graceful)
        self.pods[name] = pod
        self.all_pods.append(pod)
        if trouble == "lost after" and self.full:
            # The client has repeated it, and the pod itself stood in the way.
            self.event(self._refused(quota, doubt=True))
        elif trouble == "lost after":
            self.event(self._refused(UnreachableError("broken", "reset", maybe_sent=True), doubt=True))
        else:
            self.event(s.Created(self.now, pod.manifest()))

    def _withdraw(self, action: s.Withdraw, trouble: str) -> None:
        pod = self._pod(action.uid)
        done = pod is not None and str(pod.version) == action.version
        if done:
            assert pod is not None
            self.delete(pod)
        if trouble == "life":
            # It arrives, and nobody is there to hear of it.
            return
        self.event(s.Withdrawn(self.now, done))

    def _events(self) -> list[Object]:
        """Of the pod that is asked about, there or not: whether a node was found for it."""
        pod = next((each for each in self.all_pods if each.uid == self.state.uid), None)
        return [{"reason": "Scheduled"}] if pod is not None and pod.bound else []

    def _refused(self, error: Any, *, doubt: bool = False) -> s.Refused:
        return s.Refused(self.now, error, diagnose(Facts(error=error)), doubt=doubt)

    def _find(self, action: s.Find) -> None:
        name = action.name or pod_name(identity(self.state.incarnation))
        pod = self.pods.get(name)
        if pod is None or (action.uid and pod.uid != action.uid):
            self.event(s.Gone(self.now, None))
        else:
            self.event(s.Created(self.now, pod.manifest()))

    def tell(self, *, skip: int = 0) -> None:
        """The next news of the watch; skip leaves out states in between, as a reconnect does."""
        while skip and len(self.watched) > 1 and self.watched[0] is not None:
            self.watched.pop(0)
            skip -= 1
        news = self.watched.pop(0)
        if news is None:
            self.event(s.Gone(self.now, self.state.pod))
        else:
            self.event(s.Seen(self.now, news))

    def go_on(self, pod: Pod) -> None:
        """The pod's next step."""
        if pod.deleted_at is not None and pod.step < 4:
            pod.killed = pod.killed or pod.step >= 2
            pod.step = 4
        elif pod.step >= 5 and pod.deleted_at is not None:
            self.remove(pod)
            return
        elif pod.step < 5:
            pod.step += 1
            pod.bound = True
        pod.ever_ran = pod.ever_ran or pod.step in (2, 3)
        self.changed(pod)

    def remove(self, pod: Pod) -> None:
        pod.gone = True
        self.pods = {name: each for name, each in self.pods.items() if each is not pod}
        if pod.uid == self.adopted:
            self.changed(None)

    def pass_time(self, until: float) -> None:
        self.now = max(self.now, until)
        self.wakes = [at for at in self.wakes if at > self.now]
        self.event(s.Tick(self.now))

    def delete(self, pod: Pod) -> None:
        if pod.deleted_at is None:
            pod.deleted_at = pod.step
            if pod.step == 0:
                self.remove(pod)
            else:
                self.changed(pod)

    def evict(self, pod: Pod) -> None:
        """The kubelet ends it: the status says so, the object stays."""
        if pod.step in (1, 2, 3):
            pod.killed = pod.step >= 2
            pod.step, pod.reason = 5, "Evicted"
            self.changed(pod)

    def preempt(self, pod: Pod) -> None:
        if pod.step in (1, 2, 3) and pod.deleted_at is None:
            pod.disruption = "PreemptionByScheduler"
            self.delete(pod)

    def ask(self) -> None:
        self.asked = True
        self.event(s.Asked(self.now, "a user"))


def ends(world: World) -> str:
    """Everything is answered and told, and each pod goes on: the outcome's kind."""
    for _ in range(200):
        if world.outcome is not None:
            return world.outcome.kind
        if world.todo:
            world.answer(0)
        elif world.watched:
            world.tell()
        else:
            pod = next(
                (each for each in world.pods.values() if each.step < 5 or each.deleted_at is not None), None
            )
            assert pod is not None, world.state
            world.go_on(pod)
    raise AssertionError(world.state)
