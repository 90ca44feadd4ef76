"""One run of one DAG: load the file, start the run when told to, tell of its tasks until it has ended.

Runs inside Airflow, in a process of its own: it executes the user's file and holds the database connection. Messages
are lines of JSON, as in host.py.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from podbay.airflow.running import dagfile
from podbay.airflow.running.settings import BUNDLE
from podbay.errors import InvalidInputError

__all__ = ["drive"]

LOOK_SECONDS = 0.15
"""Between two looks at the database: one indexed query."""
LOOK_PAUSE: Final = 4
"""A look at thousands of tasks takes a moment, and is followed by a pause so many times as long."""
CALLBACKS_LOOKS = 400
"""Looks to wait for the DAG processor to take up callbacks: a minute."""
POOL_SLOTS = 128
"""What Airflow's default pool has."""


class _Wire:
    def __init__(self, into: int, out: int) -> None:
        self._into, self._out = into, out
        self._buffer = b""

    def tell(self, event: str, **facts: Any) -> None:
        data = memoryview(orjson.dumps({"event": event, **facts}) + b"\n")
        while data:
            data = data[os.write(self._out, data) :]

    def told(self, seconds: float | None) -> str | None:
        """What the host said meanwhile; it is over when the host is gone."""
        if b"\n" not in self._buffer and select.select([self._into], [], [], seconds)[0]:
            data = os.read(self._into, 4096)
            if not data:
                raise SystemExit(0)
            self._buffer += data
        line, found, rest = self._buffer.partition(b"\n")
        if not found:
            return None
        self._buffer = rest
        return str(orjson.loads(line)["do"])


def drive(order: dict[str, Any], into: int, out: int) -> None:
    """Live through one run. Whatever the user can mend is told as `refused`, with a sentence."""
    wire = _Wire(into, out)
    try:
        dag = _load(order, wire)
        while (said := wire.told(None)) != "go":
            if said == "end":
                wire.tell("marked", deferred=0)
                return
        run_id = _start(dag, order)
    except InvalidInputError as err:
        wire.tell("refused", message=str(err))
        _until_end(wire)
        return
    wire.tell("run", run_id=run_id)
    _follow(dag.dag_id, run_id, wire, has_callbacks="dag-processor" in order["needs"])


def _load(order: dict[str, Any], wire: _Wire) -> Any:
    file, root = Path(order["file"]), Path(order["dags"])
    sys.path.insert(0, str(root))
    bag, dag = dagfile.load(file, root, order["dag_id"])
    order["conf"] = dagfile.run_conf(dag, order["conf"], order["params"])
    order["needs"] = dagfile.needs(dag)
    for component in order["needs"]:
        wire.tell("need", component=component)
    wire.tell("dag", dag_id=dag.dag_id, tasks=dagfile.task_facts(dag))
    bag.dags = {dag.dag_id: dag}
    _store(bag, dag, wire)
    return dag


def _store(bag: Any, dag: Any, wire: _Wire) -> None:
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import sync_bag_to_db
    from airflow.models.dag import DagModel
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session
    from sqlalchemy import update

    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag, BUNDLE, None)
    with create_session() as session:
        # A run that was asked for runs, whatever the DAG says of its schedule.
        session.execute(update(DagModel).where(DagModel.dag_id == dag.dag_id).values(is_paused=False))
        for name in sorted({task.pool for task in dag.tasks}):
            if Pool.get_pool(name, session=session) is None:
                Pool.create_or_update_pool(
                    name, POOL_SLOTS, "made for this run", include_deferred=False, session=session
                )
                wire.tell("pool", name=name, slots=POOL_SLOTS)


def _start(dag: Any, order: dict[str, Any]) -> str:
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.sdk import timezone
    from airflow.utils.types import DagRunTriggeredByType

    try:
        run = trigger_dag(
            dag.dag_id,
            triggered_by=DagRunTriggeredByType.CLI,
            run_id=order["run_id"],
            conf=order["conf"],
            # Without one, {{ ds }} and its like would not exist.
            logical_date=timezone.utcnow(),
        )
    except ValueError as err:
        # A param's value against its schema, a start_date in the future.
        raise InvalidInputError(f"DAG {dag.dag_id} cannot be run: {err}") from err
    return str(run.run_id)


def _follow(dag_id: str, run_id: str, wire: _Wire, *, has_callbacks: bool) -> None:
    seen: dict[tuple[str, int], dict[str, Any]] = {}
    while True:
        began = time.monotonic()
        state, tasks = _look(dag_id, run_id)
        pause = max(LOOK_SECONDS, LOOK_PAUSE * (time.monotonic() - began))
        changed = [facts for facts in tasks if seen.get(_key(facts)) != facts]
        seen.update((_key(facts), facts) for facts in changed)
        for component in _also_needed(changed):
            wire.tell("need", component=component)
        if changed:
            wire.tell("tasks", tasks=changed)
        if state in ("success", "failed"):
            if has_callbacks:
                _wait_callbacks()
            wire.tell("ended", state=state)
            _until_end(wire)
            return
        if wire.told(pause) == "end":
            wire.tell("marked", deferred=_mark_failed(dag_id, run_id))
            return


def _until_end(wire: _Wire) -> None:
    """The host ends this process; ending first would look like a crash."""
    while wire.told(None) != "end":
        pass
    wire.tell("marked", deferred=0)


def _key(facts: dict[str, Any]) -> tuple[str, int]:
    return facts["task_id"], facts["map_index"]


def _also_needed(changed: list[dict[str, Any]]) -> Iterator[str]:
    states = {facts["state"] for facts in changed}
    if "deferred" in states:
        yield "triggerer"
    if states & {"scheduled", "queued"}:
        yield "task-api"


def _look(dag_id: str, run_id: str) -> tuple[str | None, list[dict[str, Any]]]:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance as TI  # noqa: N817 - Airflow's own short name
    from airflow.utils.session import create_session
    from sqlalchemy import select as sql

    columns = (TI.task_id, TI.map_index, TI.state, TI.try_number, TI.max_tries, TI.start_date, TI.end_date)
    with create_session() as session:
        # First the run, then its tasks: what is told with a run's end is their last state.
        state = session.scalar(sql(DagRun.state).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
        rows = session.execute(sql(*columns).where(TI.dag_id == dag_id, TI.run_id == run_id)).all()
    return state, [
        {
            "task_id": row.task_id,
            "map_index": row.map_index,
            "state": row.state,
            "try_number": row.try_number,
            "max_tries": row.max_tries,
            "started": row.start_date.timestamp() if row.start_date else None,
            "ended": row.end_date.timestamp() if row.end_date else None,
        }
        for row in rows
    ]


def _wait_callbacks() -> None:
    """Until the DAG processor has taken up what the run's end calls for."""
    from airflow.models.db_callback_request import DbCallbackRequest
    from airflow.utils.session import create_session
    from sqlalchemy import func
    from sqlalchemy import select as sql

    for _ in range(CALLBACKS_LOOKS):
        with create_session() as session:
            if not session.scalar(sql(func.count()).select_from(DbCallbackRequest)):
                return
        time.sleep(LOOK_SECONDS)


def _mark_failed(dag_id: str, run_id: str) -> int:
    """End the run in Airflow's books; how many of its tasks were deferred."""
    from airflow.api.common.mark_tasks import set_dag_run_state_to_failed
    from airflow.models.dagbag import DBDagBag
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select as sql

    _, tasks = _look(dag_id, run_id)
    with create_session() as session:
        run = session.scalar(sql(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
        dag = DBDagBag().get_dag_for_run(run, session=session)
        if dag is not None:
            set_dag_run_state_to_failed(dag=dag, run_id=run_id, commit=True, session=session)
    return sum(facts["state"] == "deferred" for facts in tasks)
