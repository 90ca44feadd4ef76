"""What is known of a run: its tasks from Airflow, their pods from the cluster, purely.

A task instance is a row; the pods of a try are found by their identity annotations, or by upstream's labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from podbay.objects.meta import Object, labels_of, uid_of
from podbay.pods.identity import identity_of, safe_label_value

__all__ = ["FAILED", "FINISHED", "Picture", "Row", "TaskKey"]

TaskKey = tuple[str, int]
FAILED: Final = frozenset({"failed", "upstream_failed"})
FINISHED: Final = frozenset({"success", "skipped", "removed", *FAILED})


@dataclass(slots=True)
class Row:
    """One task instance."""

    task_id: str
    map_index: int = -1
    state: str | None = None
    try_number: int = 0
    max_tries: int = 0
    started: float | None = None
    """Seconds since the epoch, as for `ended`."""
    ended: float | None = None
    pods: dict[str, Object] = field(default_factory=dict)
    """By uid, the last known state of each; also of those that are gone."""
    undeleted: dict[str, Object] = field(default_factory=dict)
    """The last state of each before its deletion was asked for."""

    @property
    def key(self) -> TaskKey:
        return self.task_id, self.map_index

    @property
    def name(self) -> str:
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"

    @property
    def is_finished(self) -> bool:
        return self.state in FINISHED

    def pod(self, number: int | None = None) -> Object | None:
        """The newest pod of a try (default: the present one)."""
        wanted = str(self.try_number if number is None else number)
        mine = [pod for pod in self.pods.values() if _try_of(pod) in (wanted, "")]
        return max(mine, key=_created, default=None)


class Picture:
    """Everything that is to be seen of one run."""

    def __init__(self) -> None:
        self.dag_id = ""
        self.run_id = ""
        self.state = ""
        """Of the run, once it has ended."""
        self.upstream: dict[str, list[str]] = {}
        self.pools: dict[str, str] = {}
        self.rows: dict[TaskKey, Row] = {}
        self._order: dict[str, int] = {}
        self._by_label: dict[str, str] = {}
        self._early: list[Object] = []

    def dag(self, dag_id: str, tasks: Iterable[Mapping[str, Any]]) -> None:
        """What the DAG file defines."""
        self.dag_id = dag_id
        for number, task in enumerate(tasks):
            task_id = task["task_id"]
            self._order[task_id] = number
            self._by_label[safe_label_value(task_id)] = task_id
            self.upstream[task_id] = list(task["upstream"])
            self.pools[task_id] = task["pool"]
            if not task["mapped"]:
                self.rows[task_id, -1] = Row(task_id)

    def tasks(self, changed: Iterable[Mapping[str, Any]]) -> list[Row]:
        """Take over what Airflow says of task instances; the rows that changed."""
        found = []
        for facts in changed:
            key = (facts["task_id"], facts["map_index"])
            row = self.rows.setdefault(key, Row(*key))
            for name in ("state", "try_number", "max_tries", "started", "ended"):
                setattr(row, name, facts[name])
            found.append(row)
        early, self._early = self._early, []
        for pod in early:
            self.pod(pod)
        return found

    def pod(self, pod: Object) -> Row | None:
        """Take over a pod's state; whose it is, None for a pod that is nobody's so far."""
        key = self._key_of(pod)
        row = self.rows.get(key) if key is not None else None
        if row is None:
            # The cluster may be faster than Airflow's books.
            self._early.append(pod)
            return None
        row.pods[uid_of(pod)] = pod
        if not (pod.get("metadata") or {}).get("deletionTimestamp"):
            row.undeleted[uid_of(pod)] = pod
        return row

    def _key_of(self, pod: Object) -> TaskKey | None:
        identity = identity_of(pod)
        if identity is not None:
            return identity.task_id, identity.map_index
        labels = labels_of(pod)
        task_id = self._by_label.get(labels.get("task_id", ""))
        index = labels.get("map_index", "-1")
        return (task_id, int(index)) if task_id is not None and index.lstrip("-").isdecimal() else None

    def sorted_rows(self) -> list[Row]:
        """In the order of the DAG."""
        return sorted(self.rows.values(), key=lambda row: (self._order.get(row.task_id, 0), row.map_index))

    def counts(self) -> dict[str, int]:
        """How many task instances are in each state; those that wait have "waiting"."""
        found: dict[str, int] = {}
        for row in self.rows.values():
            state = row.state or "waiting"
            found[state] = found.get(state, 0) + 1
        return found

    def waits_for(self, row: Row) -> list[str]:
        """Direct upstream tasks that have not finished."""
        unfinished = {other.task_id for other in self.rows.values() if not other.is_finished}
        return [task for task in self.upstream.get(row.task_id, ()) if task in unfinished]


def _try_of(pod: Object) -> str:
    identity = identity_of(pod)
    return str(identity.try_number) if identity is not None else labels_of(pod).get("try_number", "")


def _created(pod: Object) -> str:
    return str((pod.get("metadata") or {}).get("creationTimestamp") or "")
