"""What makes an operator run its pod on this engine: where it starts, how it ends. Shared by ours and adopted operators.

A mixin, so that an operator of upstream's class can be given it unchanged (adoption.py).
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk.exceptions import AirflowException, AirflowSkipException
from airflow.triggers.base import StartTriggerArgs

from podbay.airflow.describing import Description
from podbay.airflow.ending import RETURN_VALUE
from podbay.airflow.keeping import store_memory, stored_memory
from podbay.airflow.parameters import PARAMETERS
from podbay.airflow.placement import Placement
from podbay.airflow.settings import Settings, read_settings

if TYPE_CHECKING:
    from podbay.airflow.carried import Carried
    from podbay.airflow.worker import WorkerRun

__all__ = ["NEXT_METHOD", "PodTask", "StartFromTrigger", "StartTriggerArguments", "is_in_process"]

NEXT_METHOD: Final = "finish"
_GRACE: Final = timedelta(seconds=60)
_NEVER: Final = timedelta(days=3650)
"""A timeout all the same: it is the only thing from which a trigger learns when its task was handed to it."""


class StartFromTrigger:
    """Decided late, after default_args, callbacks and policies. On the class it is False: the scheduler would start
    mapped tasks with the class's unexpanded arguments (airflow.md T7)."""

    def __get__(self, task: Any, owner: type | None = None) -> bool:
        return task is not None and task.podbay_starts_in_triggerer()


class StartTriggerArguments:
    """As StartFromTrigger; None on the class."""

    def __get__(self, task: Any, owner: type | None = None) -> StartTriggerArgs | None:
        return None if task is None else task.podbay_start()


class PodTask:
    """Mixin for a BaseOperator with the parameters of the table."""

    start_from_trigger = StartFromTrigger()
    start_trigger_args = StartTriggerArguments()

    _podbay_timeout: timedelta | None = None
    _podbay_run: WorkerRun | None = None
    _podbay_killed: str = ""
    _podbay_placed: Placement | None = None
    """Where it belongs, before a worker has rendered its parameters: what is rendered tells no more why it is there."""

    # -- for subclasses

    def podbay_parameters(self) -> dict[str, Any]:
        """The parameters as they are now, by the table's names."""
        return {name: getattr(self, name, row.default) for name, row in PARAMETERS.items()}

    def podbay_function(self) -> dict[str, Any] | None:
        """For `@task.pod`: what is run instead of a command."""
        return None

    # -- where it starts

    def podbay_settle(self) -> None:
        """Take the time limit over from Airflow: the scheduler would send a task whose time is up to a worker to fail
        there (airflow.md T8), and on a worker Airflow's alarm would be lost in an event loop."""
        limit: timedelta | None = getattr(self, "execution_timeout", None)
        if limit is not None:
            self._podbay_timeout = limit
            self.execution_timeout = None

    def podbay_description(self) -> Description:
        return Description(
            self,
            self.podbay_parameters(),
            settings(),
            operator_class=type(self),
            timeout=self._podbay_timeout,
        )

    def podbay_starts_in_triggerer(self) -> bool:
        """Asked by Airflow several times for each reading of a DAG file."""
        # And already while a subclass's __init__ is under way.
        if not getattr(self, "_BaseOperator__instantiated", False):
            return False
        self.podbay_settle()
        return self.podbay_description().placement().where == "triggerer"

    def podbay_start(self) -> StartTriggerArgs | None:
        """What the scheduler starts the trigger with; None: it starts on a worker."""
        if not self.podbay_starts_in_triggerer():
            return None
        description = self.podbay_description()
        placement = description.placement()
        return start_arguments(description, placement, self._podbay_timeout, self.podbay_function())

    # -- on a worker

    def _do_render_template_fields(
        self, parent: Any, template_fields: Any, context: Any, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        if parent is self and self._podbay_placed is None:
            self._podbay_placed = self._podbay_placement()
        super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)  # type: ignore[misc]

    def _podbay_placement(self) -> Placement:
        """As the scheduler has it: an instance of a mapped task goes where that one goes."""
        from podbay.airflow.mapping import mapped_description

        dag: Any = self.get_dag()  # type: ignore[attr-defined]
        name: str = self.task_id  # type: ignore[attr-defined]
        listed = dag.task_dict.get(name) if dag is not None else None
        mapped = listed is not None and listed.is_mapped
        return (mapped_description(listed) if mapped else self.podbay_description()).placement()

    def execute(self, context: Any) -> Any:
        """Reached where the scheduler did not start the trigger, and in `dag.test()` and `airflow tasks test`."""
        return self._podbay_begin(context, since=time.time())

    def _podbay_begin(self, context: Any, *, since: float | None) -> Any:
        self.podbay_settle()
        description = self.podbay_description()
        placement = description.placement()
        if placement.where == "worker" or is_in_process():
            return self._podbay_here(context, description, placement)
        return self._podbay_defer(context, description, placement, since)

    def _podbay_here(self, context: Any, description: Description, placement: Placement) -> Any:
        from podbay.airflow.worker import WorkerRun

        if placement.where != "worker":
            placement = Placement(where="worker", reason="it is run for a test, in one process")
        carried = description.rendered(placement, deadline=None, function=self.podbay_function())
        self._podbay_run = run = WorkerRun(self, context, carried, settings())
        if self._podbay_killed:
            run.kill(self._podbay_killed)
        end = run.run()
        store_memory(context, end.memory)
        return self._podbay_ended(context, end.state, end.message, list(end.xcoms))

    def _podbay_defer(
        self, context: Any, description: Description, placement: Placement, since: float | None
    ) -> Any:
        from podbay.airflow.triggers import PodTrigger

        if placement.where == "triggerer":
            # By what it is now, rendered. Why a worker had to do that, it said before.
            placement = replace(placement, where="worker start", reason=self._podbay_reason(since))
        carried = description.rendered(placement, deadline=None, function=self.podbay_function())
        carried = replace(carried, since=since, former=stored_memory(context))
        limit, left = carried.timeout, None
        if limit is not None:
            now = time.time()
            began = context["ti"].start_date
            used = 0.0 if began is None else max(0.0, now - began.timestamp())
            if not _may_wait(carried):
                carried = replace(carried, deadline=now - used + limit)
                left = timedelta(seconds=max(0.0, limit - used)) + _GRACE
            elif since is not None:
                # A task that is handed over again may have waited since it began: its checkpoint says what it has used.
                carried = replace(carried, used=used)
        self.defer(trigger=PodTrigger(spec=carried.to_text()), method_name=NEXT_METHOD, timeout=left)  # type: ignore[attr-defined]
        return None

    def _podbay_reason(self, since: float | None) -> str:
        """Why it has started on a worker."""
        if since is None:
            return "it was in the triggerer before, and is begun anew"
        before = self._podbay_placed
        if before is not None and before.where == "worker start":
            return before.reason
        return "the scheduler did not start it elsewhere"

    def finish(self, context: Any, event: Any = None) -> Any:
        """The short end on a worker, for what only a worker runs: callbacks, outlets, listeners, hooks."""
        from podbay.airflow.triggers import AGAIN, end_of_event

        if event == AGAIN:
            # Handed over before, so that it may have a pod already.
            return self._podbay_begin(context, since=None)
        state, message, pushed, memory = end_of_event(event)
        store_memory(context, memory)
        return self._podbay_ended(context, state, message, pushed)

    def _podbay_ended(self, context: Any, state: str, message: str, pushed: list[str]) -> Any:
        if state == "skipped":
            raise AirflowSkipException(message)
        if state != "success":
            raise AirflowException(message)
        if RETURN_VALUE not in pushed:
            return None
        ti = context["ti"]
        index = ti.map_index if ti.map_index is not None and ti.map_index >= 0 else None
        return ti.xcom_pull(task_ids=ti.task_id, key=RETURN_VALUE, map_indexes=index)

    def on_kill(self) -> None:
        """A worker is told to stop, or the task was ended by a user. The task is never a success after this."""
        self._podbay_killed = "a user, or a worker that was stopped"
        if self._podbay_run is not None:
            self._podbay_run.kill(self._podbay_killed)


def start_arguments(
    description: Description,
    placement: Placement,
    limit: timedelta | None,
    function: dict[str, Any] | None = None,
) -> StartTriggerArgs:
    """For the scheduler."""
    from podbay.airflow.triggers import TRIGGER

    carried = description.carried(placement, function=function)
    counted = limit is not None and not _may_wait(carried)
    timeout = limit + _GRACE if counted and limit is not None else _NEVER
    carried = replace(carried, counted=counted, allowance=timeout.total_seconds())
    return StartTriggerArgs(
        trigger_cls=TRIGGER,
        trigger_kwargs={"spec": carried.to_text()},
        next_method=NEXT_METHOD,
        timeout=timeout,
    )


def _may_wait(carried: Carried) -> bool:
    """Time that a task waits for its turn does not count, so only a task that never waits has an absolute deadline, and one
    that the scheduler knows of."""
    return bool(carried.limits) or settings().max_running_pods > 0


_settings: Settings | None = None


def settings() -> Settings:
    """Read once a process."""
    global _settings  # noqa: PLW0603 - Airflow's configuration is a global, too
    if _settings is None:
        _settings = read_settings()
    return _settings


def is_in_process() -> bool:
    """`dag.test()` and `airflow tasks test`, where deferring means another thing (docs/airflow.md)."""
    from airflow.sdk.execution_time import task_runner

    channel = getattr(task_runner, "SUPERVISOR_COMMS", None)
    return channel is not None and type(channel).__name__ == "InProcessSupervisorComms"
