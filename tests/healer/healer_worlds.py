"""Worlds for the healer's tests: pods as the API server has them, and task instances as Airflow tells of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from podbay.healer.rules import Rules
from podbay.healer.world import AirflowAnswer, ClusterAt, PodAt, TaskInstance, TaskKey, World
from podbay.objects.meta import Object
from podbay.pods.build import build_pod
from podbay.pods.identity import TaskIdentity, task_labels
from podbay.pods.request import PodRequest

__all__ = ["NOW", "RULES", "answer", "identity", "pod", "task", "upstream", "world"]

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MOMENT = 100_000.0
RULES = Rules(deployment="prod")


def identity(**changes: Any) -> TaskIdentity:
    fields: dict[str, Any] = {"deployment": "prod", "dag_id": "etl", "run_id": "r:1+", "task_id": "load"}
    return TaskIdentity(**{**fields, **changes})


def pod(
    own: TaskIdentity | None = None,
    *,
    phase: str = "Running",
    age: float = 7200,
    uid: str = "",
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str | None] | None = None,
    status: Mapping[str, Any] | None = None,
    **metadata: Any,
) -> Object:
    """A pod as our operator makes it; a label of None is taken away."""
    own = own or identity()
    made = build_pod(PodRequest(identity=own, namespace="team", image="busybox"))
    made["metadata"]["annotations"] |= annotations or {}
    return _finish(made, phase, age, uid, labels or {}, status, metadata)


def upstream(
    own: TaskIdentity | None = None,
    *,
    name: str = "load-abc",
    phase: str = "Running",
    age: float = 7200,
    uid: str = "",
    labels: Mapping[str, str | None] | None = None,
    **metadata: Any,
) -> Object:
    """A pod as the upstream operator makes it: labels alone. Fields of its metadata, such as annotations, as they are."""
    own = own or identity()
    made: Object = {
        "metadata": {"name": name, "namespace": "team", "labels": task_labels(own)},
        "spec": {"containers": [{"name": "base"}], "restartPolicy": "Never"},
    }
    return _finish(made, phase, age, uid, labels or {}, None, metadata)


def _finish(
    made: Object,
    phase: str,
    age: float,
    uid: str,
    labels: Mapping[str, str | None],
    status: Mapping[str, Any] | None,
    metadata: Mapping[str, Any],
) -> Object:
    found = made["metadata"]
    for key, value in labels.items():
        found["labels"].pop(key, None)
        if value is not None:
            found["labels"][key] = value
    found |= {
        "uid": uid or f"uid-{found['name']}",
        "resourceVersion": "7",
        "creationTimestamp": stamp(age),
        **metadata,
    }
    made["spec"]["nodeName"] = "node-1" if phase != "Pending" else ""
    made["status"] = {"phase": phase, **(status or {})}
    if status is None and phase == "Running":
        running = {"name": "base", "state": {"running": {"startedAt": stamp(age)}}}
        made["status"]["containerStatuses"] = [running]
    return made


def stamp(ago: float) -> str:
    """The time so many seconds before NOW, as the API server writes it."""
    return (NOW - timedelta(seconds=ago)).strftime("%Y-%m-%dT%H:%M:%SZ")


def task(state: str | None, *, ended: float | None = None, number: int = 1, **key: Any) -> TaskInstance:
    """ended: seconds ago."""
    own = identity(**key)
    return TaskInstance(
        key=TaskKey(own.dag_id, own.run_id, own.task_id, own.map_index),
        state=state,
        try_number=number,
        ended_at=NOW - timedelta(seconds=ended) if ended is not None else None,
        has_trigger=state == "deferred",
    )


def answer(*tasks: TaskInstance, absent: tuple[TaskKey, ...] = (), **fields: Any) -> AirflowAnswer:
    given: dict[str, Any] = {"complete": True, "began_at": MOMENT - 1, "now": NOW, **fields}
    return AirflowAnswer(tasks={each.key: each for each in tasks}, absent=frozenset(absent), **given)


def world(*pods: Object, airflow: AirflowAnswer, seen: float = MOMENT - 5000, **fields: Any) -> World:
    own = {name: fields.pop(name) for name in ("nodes", "secrets", "trouble") if name in fields}
    cluster = ClusterAt(now=NOW, **own)
    known = tuple(PodAt(each, seen, cluster) for each in pods)
    return World(pods=known, clusters=(cluster,), airflow=airflow, **{"moment": MOMENT, **fields})
