"""The triggerer of a private Airflow, and `podbay triggerer`, do once what Airflow's does again for each task.

For every task that starts in it Airflow's reads the stored DAG from the database, and makes the DAG of it on both sides of
its channel (23 ms each for one of 100 tasks); it stores and reads an XCom by an HTTP request to itself, through an event
loop in another thread (20 ms); and it reads the tasks' log in pieces of 4 KiB. All that while the other tasks wait. Should
Airflow's parts not be as expected, only time is lost.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import importlib
import inspect
import json
import re
import weakref
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from podbay.airflow.running.airflows_parts import changes_airflow

__all__ = ["KEPT_DAGS", "answer_directly", "read_logs_in_bulk", "share_dags"]

KEPT_DAGS: Final = 8
"""One of 1,000 tasks takes 2 MiB."""
READ_BYTES: Final = 64 << 10
"""Of all tasks' logs between two looks at anything else; Airflow's reads 4 KiB, less than a pod's manifest."""
_PLAIN: Final = re.compile(r"(?!\.{1,2}\Z)[\w.~:+@-]+", re.ASCII)


@changes_airflow("DAGs are read once for each task")
def share_dags() -> None:
    """Make each DAG once, and read it once for the tasks that begin together."""
    from airflow.jobs.triggerer_job_runner import TriggerRunner
    from airflow.models.dagbag import DBDagBag
    from airflow.serialization.serialized_objects import DagSerialization

    make = DagSerialization.from_dict
    read = DBDagBag.get_serialized_dag_model
    begin = TriggerRunner.create_runtime_ti
    DagSerialization._load_operator_extra_links  # noqa: B018 - makes another DAG of the same form
    encode = importlib.import_module("msgspec.msgpack").encode
    inspect.signature(make).bind({})
    inspect.signature(read).bind(None, version_id=None, session=None)
    inspect.signature(begin).bind(None, {}, {})

    def begin_with_own_task(cls: Any, *args: Any, **options: Any) -> Any:
        found = begin(*args, **options)
        found.task = _own_copy(found.task)
        return found

    DagSerialization.from_dict = staticmethod(
        _remembering(make, encode, lambda: bool(DagSerialization._load_operator_extra_links))
    )
    DBDagBag.get_serialized_dag_model = _reading_once(read)
    TriggerRunner.create_runtime_ti = classmethod(begin_with_own_task)


def _own_copy(task: Any) -> Any:
    """What is set on a task while it runs, or on its parameters by a template, is for this instance of it alone."""
    dag = copy.copy(task.dag)
    dag.params = copy.deepcopy(dag.params)
    # Those of 10,000 mapped tasks are read by all of them.
    shared = [value for name in ("task_group", "expand_input") if (value := vars(task).get(name)) is not None]
    return copy.deepcopy(task, {id(task.dag): dag} | {id(value): value for value in shared})


def _remembering(
    make: Callable[[Any], Any], encode: Callable[[Any], bytes], with_links: Callable[[], bool]
) -> Callable[[Any], Any]:
    """By what the stored form says: it is another object each time that it comes out of a database or a channel."""
    made: OrderedDict[tuple[bytes, bool], Any] = OrderedDict()
    # Tasks that begin together share the form, too.
    last: tuple[Any, bool, Any] | None = None

    def remembering(stored: Any) -> Any:
        nonlocal last
        linked, latest = with_links(), last
        if latest is not None and latest[0] is stored and latest[1] == linked:
            return latest[2]
        try:
            key = hashlib.blake2b(encode(stored)).digest(), linked
        except (TypeError, ValueError):
            return make(stored)
        # The task API in another thread asks, too: what was found is held before anything is forgotten.
        dag = made.pop(key, None)
        if dag is None:
            dag = make(stored)
        made[key] = dag
        if len(made) > KEPT_DAGS:
            made.popitem(last=False)
        last = stored, linked, dag
        return dag

    return remembering


def _reading_once(read: Callable[..., Any]) -> Callable[..., Any]:
    """Once for a bag in a session, of which Airflow makes a new one for each look; the session forgets what nobody holds."""
    held: weakref.WeakKeyDictionary[Any, weakref.WeakKeyDictionary[Any, dict[Any, Any]]] = (
        weakref.WeakKeyDictionary()
    )

    def reading_once(self: Any, version_id: Any, session: Any) -> Any:
        # A bag of the task API lives long, and so does the session of the triggerer's own looks; not both.
        of_bag = held.setdefault(self, weakref.WeakKeyDictionary())
        known = of_bag.setdefault(session, {})
        if version_id not in known:
            known[version_id] = read(self, version_id=version_id, session=session)
        return known[version_id]

    return reading_once


@changes_airflow("logs are read 4 KiB at a time")
def read_logs_in_bulk() -> None:
    """Read more of the tasks' logs at once, as tasks end only when theirs have been read."""
    from airflow.jobs import triggerer_job_runner as module

    make = module.make_buffered_socket_reader
    inspect.signature(make).bind(None, on_close=None, buffer_size=READ_BYTES)
    module.make_buffered_socket_reader = functools.partial(make, buffer_size=READ_BYTES)


@changes_airflow("XComs are stored and read by requests")
def answer_directly() -> None:
    """Have XComs stored and read by the functions that answer requests for it, without requests."""
    from airflow.api_fastapi.execution_api.routes.xcoms import (
        GetXcomFilterParams,
        HTTPException,
        get_xcom,
        set_xcom,
    )
    from airflow.jobs import triggerer_job_runner as module
    from airflow.sdk.execution_time.comms import XComResult
    from airflow.utils.session import create_session

    names = dict.fromkeys(("dag_id", "run_id", "task_id", "key", "session"))
    inspect.signature(get_xcom).bind(**names, params=GetXcomFilterParams(map_index=-1))
    inspect.signature(set_xcom).bind(**names, value=None, map_index=-1, dag_result=False, mapped_length=None)
    for handle in (module.handle_get_xcom, module.handle_set_xcom):
        inspect.signature(handle).bind(None, None)

    def store(message: Any, session: Any) -> Any:
        # As the request's body would refuse it: what is not JSON.
        json.dumps(message.value, allow_nan=False)
        set_xcom(
            **_whose(message),
            session=session,
            value=message.value,
            map_index=_index(message),
            dag_result=bool(message.dag_result),
            mapped_length=message.mapped_length,
        )
        return None, {}

    def read(message: Any, session: Any) -> Any:
        if message.include_prior_dates:
            raise NotImplementedError
        params = GetXcomFilterParams(map_index=_index(message))
        try:
            value = get_xcom(**_whose(message), session=session, params=params).value
        except HTTPException as err:
            if err.status_code != HTTPStatus.NOT_FOUND:
                raise
            # As Airflow answers, too; it logs an error besides.
            value = None
        return XComResult(key=message.key, value=value, type="XComResult"), {"exclude_unset": True}

    module.handle_set_xcom = _directly(module.handle_set_xcom, store, create_session)
    module.handle_get_xcom = _directly(module.handle_get_xcom, read, create_session)


def _is_plain(message: Any) -> bool:
    """Whether a request would be for this very XCom: Airflow puts the words into a path as they are."""
    return all(map(_PLAIN.fullmatch, (message.dag_id, message.run_id, message.task_id, message.key)))


def _directly(
    by_request: Callable[[Any, Any], Any], act: Callable[[Any, Any], Any], new_session: Callable[[], Any]
) -> Callable[[Any, Any], Any]:
    def directly(client: Any, message: Any) -> Any:
        if not _is_plain(message):
            return by_request(client, message)
        try:
            with new_session() as session:
                return act(message, session)
        except Exception:  # noqa: BLE001 - whatever it is, the request has Airflow's words for it
            return by_request(client, message)

    return directly


def _whose(message: Any) -> dict[str, Any]:
    return {name: getattr(message, name) for name in ("dag_id", "run_id", "task_id", "key")}


def _index(message: Any) -> int:
    return -1 if message.map_index is None else message.map_index
