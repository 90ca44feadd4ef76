"""The triggerer of a private Airflow looks often, as long as Airflow's triggerer is built as expected."""

from __future__ import annotations

import anyio
import pytest
from airflow.callbacks.callback_requests import DagCallbackRequest, TaskCallbackRequest
from airflow.callbacks.database_callback_sink import DatabaseCallbackSink
from airflow.jobs import triggerer_job_runner as module
from airflow.utils.state import TaskInstanceState

from podbay.airflow.running import lively_triggerer
from podbay.airflow.running.lively_triggerer import (
    LOOK_SECONDS,
    look_often,
    send_only_useful_callbacks,
)


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> None:
    # So that both are as they were afterwards.
    monkeypatch.setattr(module, "anyio", module.anyio)
    for name in ("run", "load_triggers", "clean_unused"):
        monkeypatch.setattr(
            module.TriggerRunnerSupervisor, name, getattr(module.TriggerRunnerSupervisor, name)
        )
    assert look_often()


async def test_the_loop_of_triggers_waits_shortly(patched: None) -> None:
    # The loop waits by nothing else.
    assert {"anyio", "move_on_after"} <= set(module.TriggerRunner.arun.__code__.co_names)
    now = anyio.current_time()
    with module.anyio.move_on_after(60) as scope:
        assert now < scope.deadline <= anyio.current_time() + LOOK_SECONDS
    assert module.anyio.Event is anyio.Event


def test_the_task_api_is_made_before_the_loop(patched: None) -> None:
    done: list[str] = []

    class Client:
        def get(self, path: str) -> None:
            done.append(path)
            raise OSError("no matter")

    class Supervisor(module.TriggerRunnerSupervisor):  # type: ignore[misc]
        client = Client()

        def __init__(self) -> None:
            pass

        def run_context(self) -> None:
            done.append("loop")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Supervisor().run()
    assert done == ["health/ping", "loop"]


def test_the_database_is_not_asked_again_after_each_question(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    monkeypatch.setattr(module, "anyio", module.anyio)
    monkeypatch.setattr(module.TriggerRunnerSupervisor, "run", module.TriggerRunnerSupervisor.run)
    for name in ("load_triggers", "clean_unused"):
        monkeypatch.setattr(module.TriggerRunnerSupervisor, name, lambda _, name=name: looks.append(name))
    # Nobody waits for the clock here: it stands still, then it goes on.
    now = 1000.0
    monkeypatch.setattr(lively_triggerer.time, "monotonic", lambda: now)
    assert look_often()

    class Supervisor(module.TriggerRunnerSupervisor):  # type: ignore[misc]
        def __init__(self) -> None:
            pass

    supervisor = Supervisor()
    for _ in range(10):
        supervisor.load_triggers()
        supervisor.clean_unused()
    assert looks == ["load_triggers", "clean_unused"]
    now += LOOK_SECONDS
    supervisor.load_triggers()
    assert looks == ["load_triggers", "clean_unused", "load_triggers"]


def test_an_unexpected_airflow_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(module, "TriggerRunnerSupervisor")
    before = module.anyio
    assert not look_often()
    assert module.anyio is before


def test_only_what_calls_something_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[object] = []
    monkeypatch.setattr(DatabaseCallbackSink, "send", lambda _, callback, **options: sent.append(callback))
    assert send_only_useful_callbacks()
    where = {"filepath": "birds.py", "bundle_name": "podbay", "bundle_version": None, "msg": None}

    def of_task(kind: TaskInstanceState) -> TaskCallbackRequest:
        return TaskCallbackRequest.model_construct(**where, task_callback_type=kind)

    of_dag = DagCallbackRequest.model_construct(**where, dag_id="birds", run_id="one")
    useful = [of_task(TaskInstanceState.FAILED), of_task(TaskInstanceState.UP_FOR_RETRY), of_dag]
    for callback in (of_task(TaskInstanceState.SUCCESS), *useful):
        DatabaseCallbackSink().send(callback)
    assert sent == useful
