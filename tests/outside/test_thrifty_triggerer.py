"""The triggerer of a private Airflow makes a DAG once and stores XComs without requests, and else does what Airflow's does."""

from __future__ import annotations

import contextlib
import gc
import json
import selectors
import socket
import weakref
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.jobs import triggerer_job_runner as module
from airflow.models.dagbag import DBDagBag
from airflow.sdk import DAG
from airflow.sdk.execution_time.comms import GetXCom, SetXCom
from airflow.serialization.serialized_objects import DagSerialization
from airflow.utils import session as sessions
from stored_dags import instance_of, stored_form

from podbay import KubernetesPodOperator
from podbay.airflow.running.thrifty_triggerer import (
    KEPT_DAGS,
    answer_directly,
    read_logs_in_bulk,
    share_dags,
)

# Of a library of the task API's, when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx`")


def stored(dag_id: str) -> dict[str, Any]:
    with DAG(dag_id, schedule=None, params={"of_dag": {"a": 1}}) as dag:
        KubernetesPodOperator(task_id="one", image="a:1", params={"of_task": [1]})
        KubernetesPodOperator.partial(task_id="many", image="a:1").expand(arguments=[["1"], ["2"]])
    return stored_form(dag)


@pytest.fixture
def sharing(monkeypatch: pytest.MonkeyPatch) -> None:
    # So that they are as they were afterwards.
    monkeypatch.setattr(DagSerialization, "from_dict", DagSerialization.from_dict)
    monkeypatch.setattr(DBDagBag, "get_serialized_dag_model", DBDagBag.get_serialized_dag_model)
    monkeypatch.setattr(
        module.TriggerRunner, "create_runtime_ti", vars(module.TriggerRunner)["create_runtime_ti"]
    )
    assert share_dags()


def test_a_dag_is_made_once(sharing: None) -> None:
    form = stored("birds")
    dag = DagSerialization.from_dict(form)
    assert dag.dag_id == "birds"
    assert DagSerialization.from_dict(json.loads(json.dumps(form))) is dag


def test_a_changed_dag_is_another_one(sharing: None) -> None:
    form = stored("birds")
    dag = DagSerialization.from_dict(json.loads(json.dumps(form)))
    form["dag"]["max_active_tasks"] = 3
    assert (DagSerialization.from_dict(form).max_active_tasks, dag.max_active_tasks) == (3, 16)


def test_few_dags_are_kept(sharing: None) -> None:
    forms = [stored(f"birds{number}") for number in range(KEPT_DAGS + 1)]
    dags = [DagSerialization.from_dict(form) for form in forms]
    assert DagSerialization.from_dict(forms[-1]) is dags[-1]
    assert DagSerialization.from_dict(forms[0]) is not dags[0]


@pytest.mark.parametrize("task_id", ["one", "many"])
def test_what_is_set_on_a_task_is_for_one_instance(sharing: None, task_id: str) -> None:
    form = stored("birds")
    first, second = (instance_of(form, task_id) for _ in range(2))
    assert first.task is not second.task
    assert first.task.dag.task_dict is second.task.dag.task_dict
    # As a template may do it.
    first.task.dag.params["of_dag"].update(day=1)
    assert second.task.dag.params["of_dag"] == {"a": 1}
    if task_id == "one":
        first.task.params["of_task"].append(2)
        assert second.task.params["of_task"] == [1]
    else:
        assert first.task.expand_input is second.task.expand_input
    first.task.params = {"a": 1}
    third = instance_of(form, task_id)
    for other in (second, third):
        assert "a" not in other.task.params
        assert other.task.dag.params["of_dag"] == {"a": 1}


def test_a_stored_dag_is_read_once_for_a_look(sharing: None) -> None:
    """The session of a triggerer's looks is one and the same for ever, the bag is new for each."""

    class Session:
        asked = 0

        def get(self, *_: Any, **__: Any) -> Any:
            self.asked += 1
            return SimpleNamespace(serialized_dag=SimpleNamespace())

    bag, session = DBDagBag(), Session()
    first = bag.get_serialized_dag_model(version_id="v1", session=session)
    assert bag.get_serialized_dag_model(version_id="v1", session=session) is first
    assert bag.get_serialized_dag_model(version_id="v2", session=session) is not first
    assert session.asked == 2
    assert bag.get_serialized_dag_model(version_id="v1", session=Session()) is not first
    again = DBDagBag().get_serialized_dag_model(version_id="v1", session=session)
    assert again is not first


def test_nothing_of_a_look_is_kept(sharing: None) -> None:
    class Model:
        load_op_links = True

    class Session:
        def get(self, *_: Any, **__: Any) -> Any:
            return SimpleNamespace(serialized_dag=Model())

    session = Session()
    found = weakref.ref(DBDagBag().get_serialized_dag_model(version_id="v1", session=session))
    gc.collect()
    assert found() is None


# -- XComs

NAMES = {"key": "k", "dag_id": "d", "run_id": "r", "task_id": "t"}
STORE = SetXCom(**NAMES, value={"a": [1]}, map_index=3, mapped_length=1)
READ = GetXCom(**NAMES, map_index=3)


class Asked:
    """What stood in for Airflow's two ways has heard."""

    def __init__(self) -> None:
        self.directly: list[dict[str, Any]] = []
        self.by_request: list[Any] = []
        self.trouble: Exception | None = None

    def set_xcom(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        key: str,
        session: Any,
        value: Any = None,
        map_index: int = -1,
        dag_result: bool = False,
        mapped_length: int | None = None,
    ) -> None:
        if self.trouble is not None:
            raise self.trouble
        heard = dict(locals())
        self.directly.append({name: heard[name] for name in heard if name not in ("self", "session")})

    def get_xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str, session: Any, params: Any
    ) -> SimpleNamespace:
        if self.trouble is not None:
            raise self.trouble
        return SimpleNamespace(key=key, value={"of": params.map_index, "prior": params.include_prior_dates})

    def handle(self, client: Any, message: Any) -> tuple[str, dict[str, bool]]:
        self.by_request.append(message)
        return "by request", {}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    from airflow.api_fastapi.execution_api.routes import xcoms

    found = Asked()
    monkeypatch.setattr(xcoms, "set_xcom", found.set_xcom)
    monkeypatch.setattr(xcoms, "get_xcom", found.get_xcom)
    monkeypatch.setattr(module, "handle_set_xcom", found.handle)
    monkeypatch.setattr(module, "handle_get_xcom", found.handle)
    monkeypatch.setattr(sessions, "create_session", contextlib.nullcontext)
    assert answer_directly()
    return found


def test_an_xcom_is_stored_without_a_request(asked: Asked) -> None:
    assert module.handle_set_xcom(None, STORE) == (None, {})
    assert asked.by_request == []
    assert asked.directly == [STORE.model_dump(exclude={"type"})]


def test_an_xcom_is_read_without_a_request(asked: Asked) -> None:
    result, options = module.handle_get_xcom(None, READ)
    assert result.model_dump(**options) == {
        "key": "k",
        "value": {"of": 3, "prior": False},
        "type": "XComResult",
    }
    assert asked.by_request == []


def test_of_a_task_that_is_not_mapped(asked: Asked) -> None:
    module.handle_set_xcom(None, STORE.model_copy(update={"map_index": None}))
    assert asked.directly[0]["map_index"] == -1
    result, _ = module.handle_get_xcom(None, READ.model_copy(update={"map_index": None}))
    assert result.value["of"] == -1


def test_one_that_is_not_there_is_none(asked: Asked) -> None:
    from fastapi import HTTPException

    asked.trouble = HTTPException(404)
    result, options = module.handle_get_xcom(None, READ)
    assert result.model_dump(**options) == {"key": "k", "value": None, "type": "XComResult"}
    assert asked.by_request == []


def test_what_cannot_be_done_is_asked_for_as_airflow_does(asked: Asked) -> None:
    asked.trouble = OSError("database is locked")
    assert module.handle_set_xcom(None, STORE)[0] == "by request"
    assert module.handle_get_xcom(None, READ)[0] == "by request"
    assert asked.by_request == [STORE, READ]


def test_what_is_no_json_is_refused_as_airflow_does(asked: Asked) -> None:
    message = STORE.model_copy(update={"value": float("nan")})
    module.handle_set_xcom(None, message)
    assert (asked.by_request, asked.directly) == ([message], [])


@pytest.mark.parametrize("key", ["a?b", "a#b", "a%20b", "x/../y", "..", "a b", "é"])
def test_a_key_that_a_path_would_change_is_asked_for_as_airflow_does(asked: Asked, key: str) -> None:
    """A worker's request changes it, too; so both find the same."""
    for handle, message in ((module.handle_set_xcom, STORE), (module.handle_get_xcom, READ)):
        handle(None, message.model_copy(update={"key": key}))
    assert (asked.directly, len(asked.by_request)) == ([], 2)


def test_the_usual_names_go_directly(asked: Asked) -> None:
    names = {
        "key": "pod_name",
        "dag_id": "a.b-c",
        "run_id": "manual__2026-11-22T10:00:00+00:00",
        "task_id": "g.t",
    }
    module.handle_set_xcom(None, STORE.model_copy(update=names))
    assert (len(asked.directly), asked.by_request) == (1, [])


def test_earlier_runs_are_looked_through_by_airflow(asked: Asked) -> None:
    message = READ.model_copy(update={"include_prior_dates": True})
    assert module.handle_get_xcom(None, message)[0] == "by request"


# -- logs


def test_a_supervisor_reads_much_of_its_log_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[bytes] = []

    def lines(_: Any) -> Generator[None, bytes | bytearray, None]:
        while True:
            found.append(bytes((yield)))

    def registered(supervisor: Any, *sockets: Any, data: Any) -> None:
        supervisor.selector.register(sockets[-1], selectors.EVENT_READ)

    supervised = module.TriggerRunnerSupervisor
    monkeypatch.setattr(module, "make_buffered_socket_reader", module.make_buffered_socket_reader)
    monkeypatch.setattr(module.WatchedSubprocess, "_register_pipe_readers", registered)
    monkeypatch.setattr(supervised, "_process_log_messages_from_subprocess", lines)
    assert read_logs_in_bulk()
    supervisor = object.__new__(supervised)
    reader, writer = socket.socketpair()
    with reader, writer, selectors.DefaultSelector() as supervisor.selector:
        supervisor._register_pipe_readers(None, None, None, reader, data={})
        written = [b"x" * 999 + b"\n"] * 60
        writer.sendall(b"".join(written))
        ((key, _),) = supervisor.selector.select(1)
        assert key.data[0](reader)
    assert found == written


# -- an Airflow that is built otherwise


def test_an_unexpected_airflow_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(module, "TriggerRunner")
    monkeypatch.delattr(module, "handle_set_xcom")
    monkeypatch.delattr(module, "make_buffered_socket_reader")
    before = DagSerialization.from_dict
    assert not share_dags()
    assert not answer_directly()
    assert not read_logs_in_bulk()
    assert DagSerialization.from_dict == before


@pytest.mark.parametrize("name", ["set_xcom", "get_xcom"])
def test_another_way_of_storing_is_not_guessed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from airflow.api_fastapi.execution_api.routes import xcoms

    monkeypatch.setattr(xcoms, name, lambda dag_id, everything_else: None)
    before = module.handle_set_xcom
    assert not answer_directly()
    assert module.handle_set_xcom is before
