"""The life of one scripted pod: a state machine over times, without clock or I/O.

`advance(now)` plays everything that happens up to now, in order; `next_at` says when something happens next. Times
are seconds on one axis chosen by the caller. The same pod, rule, seed and start time always give the same life, so
a restarted process finds its pods where they would have been. Rules of starting, restarting and ending follow the
kubelet (pkg/kubelet/kuberuntime/kuberuntime_manager.go, pkg/kubelet/kubelet.go).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from podbay.apiserver.streams import Use
from podbay.embedded.scheduler.requests import is_sidecar
from podbay.embedded.scripted.script import Attempt, LogLine, Rule
from podbay.objects.meta import Object, name_of, namespace_of, uid_of

__all__ = ["ContainerLife", "PodLife", "Termination"]

_LONGEST_BACKOFF = 300.0
_SHORTEST_BACKOFF = 0.1
"""A container that ends at once must not restart for ever within one instant."""
_KILLED = 137
_DEADLINE = "Pod was active on the node longer than the specified deadline"


@dataclass(frozen=True, slots=True)
class Termination:
    """How one attempt ended."""

    attempt: int
    started_at: float
    finished_at: float
    exit_code: int
    signal: int = 0
    reason: str = ""
    message: str = ""


State = Literal["idle", "waiting", "running", "terminated"]


@dataclass(slots=True, eq=False)
class ContainerLife:
    """One container. kind is init, sidecar or main; until is when the present state ends."""

    name: str
    kind: str
    attempts: Sequence[Attempt]
    state: State = "idle"
    restarts: int = 0
    until: float = math.inf
    wait_index: int = 0
    reason: str = ""
    message: str = ""
    started_at: float = math.inf
    ready_at: float = math.inf
    ready: bool = False
    ended: Termination | None = None
    previous: Termination | None = None
    """The end of the attempt before the present one."""
    backing_off: bool = False

    @property
    def attempt(self) -> Attempt:
        return self.attempts[min(self.restarts, len(self.attempts) - 1)]

    @property
    def succeeded(self) -> bool:
        return self.state == "terminated" and self.ended is not None and self.ended.exit_code == 0

    def lines(self, *, previous: bool = False) -> Iterator[tuple[float, LogLine]]:
        """(time, line) of the present attempt, or of the one before, whether already written or not."""
        if previous:
            last = self.previous
            if last is None:
                return
            attempt = self.attempts[min(last.attempt, len(self.attempts) - 1)]
            started, ended = last.started_at, last.finished_at
        else:
            attempt, started = self.attempt, self.started_at
            # Who reads may be ahead of who plays, and sees nothing of what will never be written.
            ended = self.ended.finished_at if self.ended else self.until
        for line in attempt.log:
            if started + line.after <= ended:
                yield started + line.after, line


def _containers(pod: Object, rule: Rule) -> list[ContainerLife]:
    found = []
    for container in pod["spec"].get("initContainers") or ():
        kind = "sidecar" if is_sidecar(container) else "init"
        found.append(ContainerLife(container["name"], kind, rule.attempts(container["name"])))
    for container in pod["spec"].get("containers") or ():
        found.append(ContainerLife(container["name"], "main", rule.attempts(container["name"])))
    return found


@dataclass(slots=True, eq=False)
class PodLife:
    """See the module docstring."""

    pod: Object
    rule: Rule
    started_at: float
    seed: str = "0"
    containers: list[ContainerLife] = field(init=False)
    created: bool = False
    """The pod has its network (and IP); before that it is in ContainerCreating."""
    initialized: bool = False
    """All init containers are done; the main ones were started."""
    stopping_at: float = math.inf
    kill_at: float = math.inf
    killing: str = ""
    """Reason of a pod-wide end: DeadlineExceeded, Evicted, or empty."""
    killing_message: str = ""
    over: bool = False
    begins_at: float = field(init=False)
    _draws: int = 0

    def __post_init__(self) -> None:
        self.containers = _containers(self.pod, self.rule)
        self.begins_at = self.started_at + self.rule.delay + self._jitter(self.rule.delay_jitter)

    def _jitter(self, most: float) -> float:
        """The pod's next random share of `most`. A generator kept per pod would be most of its memory."""
        if not most:
            return 0.0
        self._draws += 1
        seed = f"{self.seed}:{namespace_of(self.pod)}/{name_of(self.pod)}:{self._draws}"
        return random.Random(seed).random() * most

    # --- reading ----------------------------------------------------------------------------------------------

    @property
    def restart_policy(self) -> str:
        return str(self.pod["spec"].get("restartPolicy") or "Always")

    @property
    def deadline_at(self) -> float:
        seconds = self.pod["spec"].get("activeDeadlineSeconds")
        return self.started_at + seconds if seconds else math.inf

    def container(self, name: str) -> ContainerLife | None:
        return next((c for c in self.containers if c.name == name), None)

    def of_kind(self, *kinds: str) -> list[ContainerLife]:
        return [c for c in self.containers if c.kind in kinds]

    def usage(self) -> dict[str, Use]:
        """What each running container uses, by name."""
        return {
            c.name: Use(c.attempt.cpu.nanos, c.attempt.memory.value())
            for c in self.containers
            if c.state == "running"
        }

    @property
    def next_at(self) -> float:
        """When `advance` has something to do next; infinity when never by itself."""
        if self.over:
            return math.inf
        times = [self.begins_at] if not self.created else []
        times += [c.until for c in self.containers if c.state in ("waiting", "running")]
        # Readiness that comes after the start is a change of its own.
        times += [c.ready_at for c in self.containers if c.state == "running" and not c.ready]
        times += [self.stopping_at, self.kill_at, self.deadline_at]
        return min(times)

    def written_until(self, now: float) -> float:
        """Up to when lines may have been written, if it is `now` and not everything has been played yet."""
        return min(now, self.stopping_at, self.kill_at, self.deadline_at)

    # --- playing ----------------------------------------------------------------------------------------------

    def advance(self, now: float) -> bool:
        """Play up to now; True when anything changed."""
        changed = False
        while not self.over and (at := self.next_at) <= now:
            self._step(at)
            changed = True
        return changed

    def _step(self, at: float) -> None:
        """Play the one thing that happens at this time."""
        if min(self.kill_at, self.stopping_at) <= at:
            self._end_all(at, _KILLED if self.kill_at < self.stopping_at else self.rule.stop_exit_code)
        elif self.deadline_at <= at:
            self.killing, self.killing_message = "DeadlineExceeded", _DEADLINE
            self._end_all(at, _KILLED if self.rule.ignore_sigterm else self.rule.stop_exit_code)
        elif not self.created:
            self.created = True
            self._go_on(at)
        else:
            self._container_step(at)

    def _container_step(self, at: float) -> None:
        for container in self.containers:
            if container.state in ("waiting", "running") and container.until <= at:
                self._end_of_state(container, at)
                self._go_on(at)
                return
        for container in self.containers:
            if container.state == "running" and container.ready_at <= at:
                container.ready = True

    def _end_of_state(self, container: ContainerLife, at: float) -> None:
        if container.state == "running":
            attempt = container.attempt
            self._terminate(container, at, attempt.final_code, attempt)
        elif container.backing_off:
            container.backing_off = False
            self._begin_attempt(container, at)
        else:
            container.wait_index += 1
            self._wait_or_run(container, at)

    def _begin_attempt(self, container: ContainerLife, at: float) -> None:
        if container.ended is not None:
            container.previous, container.ended = container.ended, None
            container.restarts += 1
        container.wait_index = 0
        self._wait_or_run(container, at)

    def _wait_or_run(self, container: ContainerLife, at: float) -> None:
        attempt = container.attempt
        if container.wait_index < len(attempt.waits):
            wait = attempt.waits[container.wait_index]
            container.state, container.until = "waiting", at + wait.seconds
            container.reason, container.message = wait.reason, wait.message
            return
        container.state, container.started_at = "running", at
        container.reason = container.message = ""
        container.ready_at = at + attempt.ready_after
        container.ready = attempt.ready_after <= 0
        container.until = at + attempt.run_seconds + self._jitter(attempt.jitter_seconds)
        if container.kind == "sidecar" and attempt.run_seconds == 0:
            # A sidecar without a script of its own serves until the pod ends.
            container.until = math.inf

    def _terminate(
        self,
        container: ContainerLife,
        at: float,
        code: int,
        attempt: Attempt | None = None,
        *,
        message: str = "",
    ) -> None:
        container.ended = Termination(
            container.restarts,
            container.started_at,
            at,
            code,
            attempt.signal if attempt else 0,
            (attempt.reason if attempt else "") or ("Completed" if code == 0 else "Error"),
            attempt.message if attempt else message,
        )
        container.state, container.until, container.ready = "terminated", math.inf, False

    def _restarts(self, container: ContainerLife) -> bool:
        if self.killing or container.ended is None:
            return False
        if container.kind == "sidecar":
            return True
        policy = self.restart_policy
        if container.kind == "init":
            return policy != "Never" and container.ended.exit_code != 0
        return policy == "Always" or (policy == "OnFailure" and container.ended.exit_code != 0)

    def _back_off(self, container: ContainerLife, at: float) -> None:
        """The first restart comes at once; later ones wait, twice as long each time."""
        if container.restarts == 0:
            self._begin_attempt(container, at)
            return
        doubled = self.rule.restart_backoff * 2.0 ** min(container.restarts - 1, 16)
        seconds = min(_LONGEST_BACKOFF, max(_SHORTEST_BACKOFF, doubled))
        container.state, container.backing_off, container.until = "waiting", True, at + seconds
        container.reason = "CrashLoopBackOff"
        container.message = (
            f"back-off {_go_duration(seconds)} restarting failed container={container.name} "
            f"pod={name_of(self.pod)}_{namespace_of(self.pod)}({uid_of(self.pod)})"
        )

    def _go_on(self, at: float) -> None:
        """Start what may start now, restart what must, and see whether it is over."""
        for container in self.containers:
            if container.state == "terminated" and self._restarts(container) and not self._mains_done():
                self._back_off(container, at)
        if not self.initialized:
            self._initialize(at)
        if self.initialized and self._mains_done():
            self._finish(at)

    def _initialize(self, at: float) -> None:
        """One init container after the other; the main ones follow when all are done and sidecars run."""
        for container in self.of_kind("init", "sidecar"):
            if container.state == "idle":
                self._begin_attempt(container, at)
            if container.kind == "init" and not container.succeeded:
                if container.state == "terminated" and not self._restarts(container):
                    self._finish(at)
                return
            if container.kind == "sidecar" and container.state != "running":
                return
        self.initialized = True
        for container in self.of_kind("main"):
            self._begin_attempt(container, at)

    def _mains_done(self) -> bool:
        return all(c.state == "terminated" and not self._restarts(c) for c in self.of_kind("main"))

    def _finish(self, at: float) -> None:
        for container in self.of_kind("sidecar"):
            if container.state == "running":
                self._terminate(container, at, 0, message=container.attempt.message)
        self.over = True

    # --- being stopped ----------------------------------------------------------------------------------------

    def stop(self, now: float, grace_seconds: float) -> None:
        """The pod is being deleted; a second call may only bring the end nearer."""
        if self.over:
            return
        self.kill_at = min(self.kill_at, now + grace_seconds)
        if not self.rule.ignore_sigterm:
            self.stopping_at = min(self.stopping_at, now + min(self.rule.stop_seconds, grace_seconds))

    def evict(self, now: float, message: str) -> None:
        """The node ends the pod for its own sake: containers are killed, the pod object stays."""
        if not self.over:
            self.killing, self.killing_message = "Evicted", message
            self._end_all(now, _KILLED)

    def _end_all(self, at: float, code: int) -> None:
        for container in self.containers:
            if container.state == "running":
                self._terminate(container, at, code)
        self.over = True


def _go_duration(seconds: float) -> str:
    """Go's time.Duration text for whole or fractional seconds."""
    if seconds < 60:
        return f"{seconds:g}s"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:g}s"
