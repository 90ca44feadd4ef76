"""A triggerer that is awake, for a private Airflow and `podbay triggerer`: five looks a second, ready when it starts.

Airflow's looks once a second, twice in a row before a task begins and once more after its end; no setting changes that.
And it makes its task API when the first question comes, while tasks wait, and has the DAG processor read the task's file
once for each success, to find that there is nothing to call. Should Airflow's parts not be as expected,
only time is lost.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from podbay.airflow.running.airflows_parts import changes_airflow

__all__ = ["LOOK_SECONDS", "look_often", "send_only_useful_callbacks"]

LOOK_SECONDS = 0.2
"""Five looks a second cost 5 % of a core while nothing happens, one costs 1 %."""
CLEAN_SECONDS = 1.0
"""Nobody waits for triggers to be forgotten, as long as none has ended since."""
BUSY_SHARE = 0.1
"""So much of its time a supervisor spends on looks that take long; in the rest tasks have their answers."""
AIRFLOWS_SECONDS = 1.0
"""Between two looks of Airflow's own triggerer: it is never longer."""


class _Timing:
    """The module `anyio` as the triggerer's loop uses it, with shorter waits."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def move_on_after(self, delay: float, *words: Any, **options: Any) -> Any:
        return self._module.move_on_after(min(delay, LOOK_SECONDS), *words, **options)


@changes_airflow("the triggerer looks once a second")
def look_often() -> None:
    """Must be called before a triggerer is made in this process."""
    from airflow.jobs import triggerer_job_runner as module

    supervisor = module.TriggerRunnerSupervisor
    run = supervisor.run
    load, clean = supervisor.load_triggers, supervisor.clean_unused
    handle_events, handle_failures = supervisor.handle_events, supervisor.handle_failed_triggers
    module.anyio.move_on_after  # noqa: B018 - it is what the loop waits with, or nothing here is as expected

    def ready_run(self: Any) -> None:
        _make_api(self)
        run(self)

    ended = False

    def noting(handle: Callable[[Any], None], waiting: str) -> Callable[[Any], None]:
        def handle_and_note(self: Any) -> None:
            nonlocal ended
            ended = ended or bool(getattr(self, waiting))
            handle(self)

        return handle_and_note

    def clean_and_load(self: Any) -> None:
        nonlocal ended
        if ended:
            # Before the first a task that was marked meanwhile still has its trigger, which would begin anew.
            clean(self)
            ended = False
        load(self)

    supervisor.run = ready_run
    supervisor.handle_events = noting(handle_events, "events")
    supervisor.handle_failed_triggers = noting(handle_failures, "failed_triggers")
    # Airflow does both again after each question of any trigger, which costs more than the answer.
    supervisor.load_triggers = _seldom(clean_and_load, LOOK_SECONDS)
    supervisor.clean_unused = _seldom(clean, CLEAN_SECONDS)
    module.anyio = _Timing(module.anyio)


def _seldom(look: Callable[[Any], None], seconds: float) -> Callable[[Any], None]:
    """At most so often, and at most once a second if it takes long; there is one supervisor in a process."""
    due = 0.0

    def seldom(self: Any) -> None:
        nonlocal due
        began = time.monotonic()
        if began < due:
            return
        look(self)
        over = time.monotonic()
        due = over + max(seconds, min((over - began) / BUSY_SHARE, AIRFLOWS_SECONDS))

    return seldom


def _make_api(supervisor: Any) -> None:
    """Ask the first question: the answer is of no interest. The trigger runner has been forked before."""
    with contextlib.suppress(Exception):
        supervisor.client.get("health/ping")


@changes_airflow("callbacks of successes are sent")
def send_only_useful_callbacks() -> None:
    """Keep from the DAG processor what it would refuse: callbacks of successes."""
    from airflow.callbacks.callback_requests import TaskCallbackRequest
    from airflow.callbacks.database_callback_sink import DatabaseCallbackSink

    send = DatabaseCallbackSink.send
    TaskCallbackRequest.is_failure_callback  # noqa: B018 - by this the DAG processor decides

    def send_useful(self: Any, callback: Any, **options: Any) -> None:
        if not isinstance(callback, TaskCallbackRequest) or callback.is_failure_callback:
            send(self, callback, **options)

    DatabaseCallbackSink.send = send_useful
