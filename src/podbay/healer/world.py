"""What the healer knows at one moment, and how far it may be trusted. Values only (spec 23).

Ages by stamps compare a stamp with the clock of whoever wrote it: pods with the API server's, task instances with
Airflow's. What carries no stamp is as old as this process has seen it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from podbay.objects.meta import Object
from podbay.pods.identity import TaskIdentity

__all__ = [
    "FINISHED",
    "AirflowAnswer",
    "ClusterAt",
    "PodAt",
    "TaskInstance",
    "TaskKey",
    "Vanished",
    "World",
    "key_of",
]

FINISHED: Final = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
"""States in which a task instance owns no pod. Any other, also one that we do not know, does; None is a cleared one."""
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class TaskKey:
    """A task instance, whatever its try."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    def __str__(self) -> str:
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag_id}.{self.task_id}{mapped} of {self.run_id}"


def key_of(identity: TaskIdentity) -> TaskKey:
    """The task instance that a pod's identity names."""
    return TaskKey(identity.dag_id, identity.run_id, identity.task_id, identity.map_index)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInstance:
    """As Airflow tells it."""

    key: TaskKey
    state: str | None
    try_number: int
    ended_at: datetime | None = None
    """By Airflow's clock."""
    has_trigger: bool = False
    max_tries: int = 0
    """The last try that may still be followed by another one."""

    @property
    def is_finished(self) -> bool:
        return self.state in FINISHED

    @property
    def is_active(self) -> bool:
        """It may own a pod now or take one over in a moment."""
        return self.state is not None and not self.is_finished


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowAnswer:
    """All task instances that may own a pod, and those that were asked for one by one."""

    tasks: Mapping[TaskKey, TaskInstance] = field(default_factory=dict)
    absent: frozenset[TaskKey] = frozenset()
    """Airflow has said of each that there is none."""
    complete: bool = False
    """Every page was read."""
    trouble: str = ""
    """Why it is not complete."""
    left_open: str = ""
    """Why those that are over are not all listed: a pod that only labels name is then told of by active ones alone."""
    retries: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Of tasks by DAG and task, as their authors gave them, of those that were asked for and are known."""
    began_at: float = 0.0
    """When the first question was sent, by our monotonic clock."""
    now: datetime = _NEVER
    """Airflow's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAt:
    """One cluster at this moment."""

    name: str = ""
    """Empty where there is only one."""
    now: datetime
    """The API server's clock."""
    nodes: frozenset[str] | None = None
    """Names of all nodes; None when they may not be listed."""
    secrets: tuple[Object, ...] = ()
    """Metadata of Secrets that Podbay has made; none where they may not be listed, or were not looked at this time."""
    trouble: str = ""
    """Why its pods are not what it has now; empty while the watch works."""


@dataclass(frozen=True, slots=True)
class PodAt:
    """A pod, and since when this process knows it (its uid), by our monotonic clock."""

    pod: Object
    since: float
    cluster: ClusterAt


@dataclass(frozen=True, slots=True, kw_only=True)
class Vanished:
    """A pod of this deployment that had not ended when it was last seen, and is not there any more."""

    identity: TaskIdentity
    namespace: str
    name: str
    uid: str
    since: float
    cluster: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that `decide` looks at."""

    pods: tuple[PodAt, ...]
    clusters: tuple[ClusterAt, ...]
    airflow: AirflowAnswer
    moment: float
    """Our monotonic clock."""
    noticed: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """(uid, check): since when without a break that check has found that of that pod."""
    vanished: tuple[Vanished, ...] = ()
    acted: tuple[float, ...] = ()
    """When the last actions were taken, by our monotonic clock."""
    failed: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """(uid, check): before when what it asks for is not tried again, because it has failed."""

    @property
    def troubles(self) -> list[str]:
        """Of the clusters whose pods are not known now."""
        named = [(each.name, each.trouble) for each in self.clusters if each.trouble]
        return [f"{name}: {trouble}" if name else trouble for name, trouble in named]
