"""What the agent knows of one pod at one moment: its object, what runs, why something does not, what probes say.

Deciding code (`actions`, `status`) reads a View and nothing else; the pod's worker makes one for every look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from podbay.node.observed import ContainerState, ContainerStatus, SandboxStatus
from podbay.node.podspec import all_containers, restarts_after
from podbay.objects.meta import Object

__all__ = ["Outcome", "Probes", "Reason", "View"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a container could not be started: the kubelet's word and the sentence that goes with it."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Probes:
    """Results by container id; an id that is missing has no result yet."""

    startup: Mapping[str, bool] = field(default_factory=dict)
    liveness: Mapping[str, bool] = field(default_factory=dict)
    readiness: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """An end that the node itself decided: phase Failed with reason and message."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """See the module docstring."""

    pod: Object
    sandbox: SandboxStatus | None = None
    attempts: Mapping[str, Sequence[ContainerStatus]] = field(default_factory=dict)
    """By container name, newest first."""
    reasons: Mapping[str, Reason] = field(default_factory=dict)
    messages: Mapping[str, str] = field(default_factory=dict)
    """Termination messages by container id."""
    probes: Probes = Probes()
    ended: bool = False
    """Everything has stopped and nothing will be started again."""
    outcome: Outcome | None = None

    @property
    def spec(self) -> Object:
        spec: Object = self.pod["spec"]
        return spec

    def latest(self, name: str) -> ContainerStatus | None:
        """The newest attempt of a container, None before the first."""
        attempts = self.attempts.get(name)
        return attempts[0] if attempts else None

    def running(self) -> list[ContainerStatus]:
        """All attempts that run."""
        return [
            a for attempts in self.attempts.values() for a in attempts if a.state == ContainerState.RUNNING
        ]

    def is_started(self, container: Object, status: ContainerStatus) -> bool:
        """Running, and past its startup probe when it has one."""
        if status.state != ContainerState.RUNNING:
            return False
        return container.get("startupProbe") is None or self.probes.startup.get(status.id, False)

    def should_start(self, container: Object, *, init: bool = False) -> bool:
        """Whether the container, which does not run, ought to: it never did, or its restart rules say so."""
        if self.pod["metadata"].get("deletionTimestamp") or self.ended:
            return False
        status = self.latest(container["name"])
        if status is None or status.state == ContainerState.CREATED:
            return True
        if status.state == ContainerState.RUNNING:
            return False
        return restarts_after(self.spec, container, status.exit_code, init=init)

    def any_main_started(self) -> bool:
        """Whether a main container has run: what came before is done then."""
        return any(
            (status := self.latest(c["name"])) is not None and status.state != ContainerState.CREATED
            for kind, c in all_containers(self.spec)
            if kind == "main"
        )
