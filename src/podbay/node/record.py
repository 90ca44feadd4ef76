"""What a pod's worker remembers between two looks, and the View it makes of it.

Everything that must outlive the process is in the runtime or in the API; this is rebuilt from there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from podbay.node.observed import ContainerState, ContainerStatus, SandboxStatus
from podbay.node.view import Outcome, Probes, Reason, View
from podbay.objects.meta import Object

__all__ = ["PodRecord"]

_RANK = {
    ContainerState.CREATED: 0,
    ContainerState.RUNNING: 1,
    ContainerState.UNKNOWN: 2,
    ContainerState.EXITED: 3,
}
_KEPT_ATTEMPTS = 2
"""The present one and the one before it, whose log and end people can still ask for."""
_SHOWN_RUNNING_SECONDS = 1.0
"""A restarted container counts as running for at least this long, as the kubelet looks once a second: watchers see
that it ran, and a container that crashes at once does not keep the node busy."""
REASON_DELAY = 1.0
"""When CrashLoopBackOff replaces the end it follows, so that the end is seen."""


@dataclass(slots=True)
class _Start:
    """Why a container does not run, since when that shows (monotonic seconds), and when to try again."""

    reason: Reason
    shown_at: float
    retry_at: float
    before: Reason | None = None
    """What shows until then."""

    def shown(self, now: float) -> Reason | None:
        return self.reason if self.shown_at <= now else self.before


@dataclass(slots=True)
class PodRecord:
    """See the module docstring."""

    pod: Object
    sandbox: SandboxStatus | None = None
    attempts: dict[str, list[ContainerStatus]] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    startup: dict[str, bool] = field(default_factory=dict)
    liveness: dict[str, bool] = field(default_factory=dict)
    readiness: dict[str, bool] = field(default_factory=dict)
    ended: bool = False
    outcome: Outcome | None = None
    _starts: dict[str, _Start] = field(default_factory=dict)

    def note(self, status: ContainerStatus) -> bool:
        """Take in what the runtime tells of a container; False when it is no news. States never go back."""
        attempts = self.attempts.setdefault(status.name, [])
        for i, known in enumerate(attempts):
            if known.id == status.id:
                if known == status or _RANK[known.state] > _RANK[status.state]:
                    return False
                attempts[i] = status
                return True
        attempts.append(status)
        attempts.sort(key=lambda s: (s.attempt, s.created_ns), reverse=True)
        return True

    def outdated(self) -> list[ContainerStatus]:
        """Ended attempts that nobody can ask for any more; they are forgotten here."""
        found: list[ContainerStatus] = []
        for name, attempts in self.attempts.items():
            self.attempts[name], old = attempts[:_KEPT_ATTEMPTS], attempts[_KEPT_ATTEMPTS:]
            found += old
        for status in found:
            for known in (self.messages, self.startup, self.liveness, self.readiness):
                known.pop(status.id, None)
        return found

    def latest(self, name: str) -> ContainerStatus | None:
        """The newest attempt of a container, None before the first."""
        attempts = self.attempts.get(name)
        return attempts[0] if attempts else None

    def find(self, container_id: str) -> ContainerStatus | None:
        """The container of that id."""
        return next(
            (s for attempts in self.attempts.values() for s in attempts if s.id == container_id), None
        )

    def all(self) -> Iterable[ContainerStatus]:
        """Every known attempt."""
        return [s for attempts in self.attempts.values() for s in attempts]

    def fail(self, name: str, reason: Reason, *, now: float, retry_in: float, shown_in: float = 0.0) -> None:
        """The container could not be started; all times are monotonic seconds."""
        last = self._starts.get(name)
        before = last.reason if last is not None and shown_in > 0 else None
        self._starts[name] = _Start(reason, now + shown_in, now + retry_in, before)

    def clear(self, name: str) -> None:
        """The container was started."""
        self._starts.pop(name, None)

    def retry_all(self) -> None:
        """Something a start failed for may be there now. Delays after crashes and failed pulls stay."""
        for start in self._starts.values():
            if start.reason.reason == "CreateContainerConfigError":
                start.retry_at = 0.0

    def may_start(self, name: str, now: float) -> bool:
        """Whether the delay after a failed start is over."""
        start = self._starts.get(name)
        return start is None or start.retry_at <= now

    def is_held(self, status: ContainerStatus, wall: float) -> bool:
        """It has ended but still counts as running."""
        return self._held_until(status) > wall

    @staticmethod
    def _held_until(status: ContainerStatus) -> float:
        if status.state != ContainerState.EXITED or status.attempt == 0 or status.reason:
            return 0.0
        return status.started_ns / 1e9 + _SHOWN_RUNNING_SECONDS

    def next_look(self, now: float, wall: float) -> float | None:
        """Seconds until something changes by itself; None when nothing will."""
        times = [t - now for s in self._starts.values() for t in (s.shown_at, s.retry_at) if t > now]
        if not self.ended:
            times += [held - wall for s in self.all() if (held := self._held_until(s)) > wall]
        return min(times, default=None)

    def view(self, now: float, wall: float) -> View:
        """What deciding code sees now (monotonic and wall clock seconds)."""
        attempts = {
            name: [self._shown(status, wall) for status in known] for name, known in self.attempts.items()
        }
        return View(
            pod=self.pod,
            sandbox=self.sandbox,
            attempts=attempts,
            reasons={
                name: reason for name, s in self._starts.items() if (reason := s.shown(now)) is not None
            },
            messages=self.messages,
            probes=Probes(self.startup, self.liveness, self.readiness),
            ended=self.ended,
            outcome=self.outcome,
        )

    def _shown(self, status: ContainerStatus, wall: float) -> ContainerStatus:
        if self.ended or not self.is_held(status, wall):
            return status
        return replace(status, state=ContainerState.RUNNING, exit_code=0, finished_ns=0, oom_killed=False)
