"""What is to be run, and how patient to be: all that the engine must be told about one pod."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from podbay.objects.meta import Object
from podbay.pods.request import ResultTransport

__all__ = ["Deadlines", "Keep", "PodPlan", "Rules"]

Keep: TypeAlias = Literal["never", "on_failure", "always"]
"""When a pod stays after its run (upstream: delete_pod, delete_succeeded_pod, keep_pod)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Seconds; None is no limit. Each clock runs only while the run is in that phase."""

    queue: float | None = None
    """Waiting in a queue: for quota, for a scheduling gate (Kueue), for the API server to take the pod at all."""
    schedule: float | None = 600.0
    """Waiting for a node with room (upstream: schedule_timeout_seconds). Ten minutes: nodes take two to five to come."""
    start: float | None = 120.0
    """From a node's yes to the main container, without the time in which init containers run (startup_timeout_seconds)."""
    run: float | None = None
    """The whole run, from its beginning (Airflow: execution_timeout)."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Of a plan, what decisions depend on."""

    container: str = "base"
    """The container whose end is the task's end."""
    result: ResultTransport = "none"
    json_result: bool = True
    """A result that is not JSON is none."""
    deadlines: Deadlines = field(default_factory=Deadlines)
    keep: Keep = "never"
    hold: float | None = None
    """Seconds that a pod which is kept stays: it is marked with the end, and the healer removes it then. None: for good."""
    unheld_codes: frozenset[int] = frozenset()
    """Exit codes that are no failure to whoever waits: where pods are held for a time, such a pod is not."""
    keep_on_kill: bool = False
    """A killed pod is left alone (upstream: on_kill_action="keep_pod")."""
    infrastructure_retries: int = 3
    """Pods that may replace one that the infrastructure lost, within this run (design D13)."""
    idempotent: bool = False
    """The task may run again after it has begun; else only a pod whose containers provably never ran is replaced."""
    kill_grace: float | None = None
    """Seconds a killed container gets (upstream: termination_grace_period); None leaves it to the pod."""
    checked_label: bool = True
    """Mark a pod that is kept as processed (`already_checked=True`, spec 20)."""
    overflow: float | None = None
    """Seconds without room (quota, a scheduling gate, no node) after which the run gives its pod up and ends as "moved", so
    that it may run elsewhere; None: never."""
    replaceable: bool = True
    """Another incarnation would have another name. The engine finds out."""


@dataclass(frozen=True, kw_only=True)
class PodPlan(Rules):
    """One pod to run to its end."""

    build: Callable[[int], Object]
    """Makes the manifest of the nth incarnation (0 first): same n, same manifest; other n, other name."""
    logs: Callable[[str], bool] = lambda _: True
    """Which containers' logs are wanted, by name (never the result sidecar's)."""
