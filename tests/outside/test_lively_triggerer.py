"""The triggerer of a private Airflow looks often, as long as Airflow's triggerer is built as expected."""

from __future__ import annotations

from collections import deque
from typing import Any

import anyio
import pytest
from airflow.callbacks.callback_requests import DagCallbackRequest, TaskCallbackRequest
from airflow.callbacks.database_callback_sink import DatabaseCallbackSink
from airflow.jobs import triggerer_job_runner as module
from airflow.triggers.base import TriggerEvent
from airflow.utils.state import TaskInstanceState

from podbay.airflow.running import lively_triggerer
from podbay.airflow.running.lively_triggerer import (
    AIRFLOWS_SECONDS,
    CLEAN_SECONDS,
    LOOK_SECONDS,
    look_often,
    send_only_useful_callbacks,
)


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> None:
    # So that both are as they were afterwards.
    monkeypatch.setattr(module, "anyio", module.anyio)
    for name in ("run", "load_triggers", "clean_unused", "handle_events", "handle_failed_triggers"):
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


class Looks:
    """A supervisor's looks into the database, by a clock that moves when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[str] = []
        self.now = 1000.0
        self.takes = 0.0
        monkeypatch.setattr(module, "anyio", module.anyio)
        monkeypatch.setattr(module.TriggerRunnerSupervisor, "run", module.TriggerRunnerSupervisor.run)
        for name in ("load_triggers", "clean_unused"):
            monkeypatch.setattr(module.TriggerRunnerSupervisor, name, lambda _, name=name: self._look(name))
        for name in ("handle_events", "handle_failed_triggers"):
            handle = getattr(module.TriggerRunnerSupervisor, name)
            monkeypatch.setattr(module.TriggerRunnerSupervisor, name, handle)
        monkeypatch.setattr(lively_triggerer.time, "monotonic", lambda: self.now)
        assert look_often()

        class Supervisor(module.TriggerRunnerSupervisor):  # type: ignore[misc]
            def __init__(self) -> None:
                self.team_name = None
                self.events: deque[Any] = deque()
                self.failed_triggers: deque[Any] = deque()

            def on_trigger_event(self, **_: Any) -> None:
                pass

            def on_trigger_failure(self, **_: Any) -> None:
                pass

        self.supervisor = Supervisor()

    def _look(self, name: str) -> None:
        self.seen.append(name)
        self.now += self.takes

    def go_round(self) -> list[str]:
        """Once round the supervisor's loop: which looks it took."""
        self.seen.clear()
        self.supervisor.load_triggers()
        self.supervisor.handle_events()
        self.supervisor.handle_failed_triggers()
        self.supervisor.clean_unused()
        return list(self.seen)


def test_the_database_is_not_asked_again_after_each_question(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(monkeypatch)
    assert looks.go_round() == ["load_triggers", "clean_unused"]
    assert [looks.go_round() for _ in range(10)] == [[]] * 10
    looks.now += LOOK_SECONDS
    assert looks.go_round() == ["load_triggers"]
    looks.now += CLEAN_SECONDS - LOOK_SECONDS
    assert looks.go_round() == ["load_triggers", "clean_unused"]


@pytest.mark.parametrize("kind", ["events", "failed_triggers"])
def test_what_has_ended_is_forgotten_before_the_next_look(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """As in Airflow: the trigger of a task that somebody has marked would be taken for a new one."""
    looks = Looks(monkeypatch)
    looks.go_round()
    ended = {
        "events": module.TriggerEventEntry(7, TriggerEvent("over"), None),
        "failed_triggers": (7, None),
    }
    getattr(looks.supervisor, kind).append(ended[kind])
    assert looks.go_round() == []
    assert not getattr(looks.supervisor, kind)
    looks.now += LOOK_SECONDS
    assert looks.go_round() == ["clean_unused", "load_triggers"]
    looks.now += LOOK_SECONDS
    assert looks.go_round() == ["load_triggers"]


def test_looks_that_take_long_leave_time_for_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(monkeypatch)
    looks.takes = 0.05
    looks.go_round()
    looks.now += LOOK_SECONDS
    assert looks.go_round() == []
    looks.now += LOOK_SECONDS + 0.11
    looks.takes = 60
    assert looks.go_round() == ["load_triggers", "clean_unused"]
    looks.now += AIRFLOWS_SECONDS
    assert looks.go_round() == ["load_triggers", "clean_unused"]


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
