"""The same run on a worker: one event loop in the task's process, and one bridge from its signals into the loop.

A worker that is told to stop calls `kill` from a signal handler; the pod is then ended first, and the task fails: never
is a destroyed pod a success (spec 27). Upstream's callbacks are called here, because only a worker has their code.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from podbay.airflow.building import Job, with_function
from podbay.airflow.callbacks import Callbacks
from podbay.airflow.calls import WorkerCalls, key_of
from podbay.airflow.carried import Carried
from podbay.airflow.driving import TaskRun
from podbay.airflow.ending import TaskEnd
from podbay.airflow.enforcing import current_deployment
from podbay.airflow.keeping import former_of, stored_memory, wants_memory
from podbay.airflow.mutation import pod_mutation
from podbay.airflow.portable import plain, revive
from podbay.airflow.settings import Settings
from podbay.airflow.tasklog import TaskLog
from podbay.errors import PodbayError

__all__ = ["WorkerRun"]


class WorkerRun:
    """One task instance on this worker."""

    def __init__(self, task: Any, context: Mapping[str, Any], carried: Carried, settings: Settings) -> None:
        self._task = task
        self._context = context
        self._carried = carried
        self._settings = settings
        self._log = TaskLog(
            task.log.log,
            prefix=bool(getattr(task, "container_name_log_prefix_enabled", True)),
            formatter=getattr(task, "log_formatter", None),
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._run: TaskRun | None = None
        self._killed_by = ""

    def kill(self, by: str) -> None:
        """End the pod; from a signal handler or any thread."""
        self._killed_by = by
        if self._loop is not None and self._run is not None:
            # Also wakes the loop up, which a signal handler alone does not.
            self._loop.call_soon_threadsafe(self._run.kill, by)

    def run(self) -> TaskEnd:
        """To the end of the task. What is wrong with the pod is that end; raises what the task's own code raises."""
        self._log.info(self._carried.reason)
        try:
            return _run_to_end(self._main)
        except (PodbayError, TimeoutError) as error:
            self._log.error(str(error) or type(error).__name__)
            return TaskEnd(state="failed", message=str(error) or type(error).__name__)

    async def _main(self) -> TaskEnd:
        self._loop = asyncio.get_running_loop()
        given = {name: plain(revive(value)) for name, value in self._carried.parameters.items()}
        given = with_function(given, self._carried, self._settings)
        callbacks = Callbacks(self._task, self._context, given)
        self._run = run = TaskRun(self._job(given, callbacks), WorkerCalls(), self._log, hears=callbacks)
        if self._killed_by:
            run.kill(self._killed_by)
        try:
            end = await run.run(remaining=self._carried.timeout)
        except Exception as error:
            # A callback's, a log formatter's, Airflow's: the engine leaves the pod as it is, and no later life goes on with it.
            await self._abandon(run, error)
            raise
        return self._never_green(end)

    async def _abandon(self, run: TaskRun, why: Exception) -> None:
        try:
            names = await run.abandon()
        except PodbayError as error:
            self._log.warning(f"The task's pod could not be deleted, and may go on: {error}")
        else:
            for name in names:
                self._log.info(f"Pod {name} was deleted: the task has failed ({type(why).__name__}).")

    def _job(self, given: Mapping[str, Any], callbacks: Callbacks) -> Job:
        from airflow.version import version

        ti = self._context["ti"]
        deployment = current_deployment()
        former = stored_memory(self._context) if wants_memory(deployment) else None
        return Job(
            key=key_of(ti),
            carried=self._carried,
            given=given,
            owner=uuid.uuid4().hex,
            settings=self._settings,
            airflow_version=str(version),
            # Clearing grants all retries anew, counted from the try that was cleared.
            cleared=max(0, ti.max_tries - self._task.retries),
            mutate=callbacks.mutating(pod_mutation(self._carried.queue)),
            deployment=deployment,
            former=former_of(former),
            kept_by_worker=True,
        )

    def _never_green(self, end: TaskEnd) -> TaskEnd:
        if self._killed_by and end.state != "failed":
            # The pod had ended before it could be killed. Airflow has given the task up all the same.
            return TaskEnd(state="failed", message=f"the task was ended by {self._killed_by}")
        return end


def _run_to_end(main: Callable[[], Any]) -> TaskEnd:
    """In this thread, or in one of its own where a loop runs already (notebooks)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        result: TaskEnd = asyncio.run(main())
        return result
    found: list[TaskEnd | BaseException] = []

    def work() -> None:
        try:
            found.append(asyncio.run(main()))
        except BaseException as error:  # noqa: BLE001 - handed to the waiting thread
            found.append(error)

    thread = threading.Thread(target=work, name="podbay")
    thread.start()
    thread.join()
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]
