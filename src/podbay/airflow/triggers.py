"""The trigger: a task's pod from start to end in the triggerer, with no worker (design D3; airflow.md T1-T10).

Light to import, because a triggerer imports it on its event loop; what is heavy is imported in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING, Any, Final

from airflow.triggers.base import (
    BaseTrigger,
    TaskFailedEvent,
    TaskSkippedEvent,
    TaskSuccessEvent,
    TriggerEvent,
)

from podbay.airflow.carried import Carried
from podbay.airflow.logrelay import PATIENCE_SECONDS, log_relay
from podbay.errors import InvalidInputError, PodbayError

if TYPE_CHECKING:
    from podbay.airflow.ending import TaskEnd
    from podbay.airflow.work import TriggerWork

__all__ = ["AGAIN", "GRACE_SECONDS", "TRIGGER", "PodTrigger", "end_of_event", "event_of"]

TRIGGER: Final = "podbay.airflow.triggers.PodTrigger"
GRACE_SECONDS: Final = 60.0
"""The trigger ends a task whose time is up; only so much later does the scheduler, which takes a worker for it (T8)."""
AGAIN: Final = {"state": "again"}
"""Event: a worker is to begin the task anew, with the pod that it has."""
HELD_SECONDS: Final = 5.0
"""Airflow fails a task that comes back to the executor before its first half was accounted for (docs/airflow.md)."""


class PodTrigger(BaseTrigger):
    """Takes one text (carried.py)."""

    thing = "Its pod"

    def __init__(self, **arguments: Any) -> None:
        # Whatever is raised here ends the whole triggerer, again after each restart (T2): `run` looks at it.
        super().__init__()
        self._arguments = arguments
        self._work: TriggerWork | None = None
        self._ended = False

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return TRIGGER, self._arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event, whatever happens: an exception or no event would cost a worker to fail the task (T8)."""
        began = time.monotonic()
        log_relay()
        event = await self._event()
        if self._is_halved(event):
            await asyncio.sleep(HELD_SECONDS - (time.monotonic() - began))
        self._ended = True
        await self._passed_on()
        yield event

    async def _passed_on(self) -> None:
        """Who sees that the task has ended finds its log whole; unless it takes so long that Airflow fails the task."""
        relay = log_relay()
        if relay is not None:
            deadline = self._deadline()
            left = inf if deadline is None else (deadline - datetime.now(UTC)).total_seconds()
            with contextlib.suppress(TimeoutError):
                await relay.passed_on(min(PATIENCE_SECONDS, max(left / 2, 0.0)))

    async def _event(self) -> TriggerEvent:
        try:
            work = self._work = await self._begun()
            end = await work.run()
            if end is None:
                self.log.info("Its DAG has changed: a worker renders the parameters and hands it over again.")
                return TriggerEvent(AGAIN)
            return event_of(end, work.carried, try_number=work.key.try_number)
        except PodbayError as error:
            self.log.error(str(error) or type(error).__name__)
        except TimeoutError as error:
            self.log.error(
                str(error) or "Airflow has not answered this task; the log of the triggerer may say why."
            )
        except Exception:
            self.log.exception("The task failed for a reason that nobody has thought of; please report it.")
        await self._give_up()
        return TaskFailedEvent()

    async def _begun(self) -> TriggerWork:
        """Raises InvalidInputError."""
        carried = Carried.from_text(self._arguments.get("spec"))
        module = await asyncio.to_thread(_import_work)
        work: TriggerWork = module.TriggerWork(
            carried,
            self.task_instance,
            owner=uuid.uuid4().hex,
            log=self.log,
            timeout_after=self._deadline(),
        )
        return work

    def _is_halved(self, event: TriggerEvent) -> bool:
        """A worker has begun the task and another one is to end it."""
        ends_here = isinstance(event, TaskSuccessEvent | TaskFailedEvent | TaskSkippedEvent)
        return not ends_here and self._work is not None and self._work.carried.rendered

    def _deadline(self) -> datetime | None:
        found: datetime | None = getattr(self, "timeout_after", None)
        if found is None or found.tzinfo is not None:
            return found
        return found.replace(tzinfo=UTC)

    async def _give_up(self) -> None:
        if self._work is None:
            return
        try:
            await self._work.delete("the task has failed")
        except Exception as error:  # noqa: BLE001 - an error of Airflow's in place of an event would cost a worker (T8)
            self.log.warning("%s could not be deleted: %s", self.thing, str(error) or type(error).__name__)

    async def on_kill(self) -> None:
        """Somebody marked or cleared the task; or this triggerer stalled and another one has it (T6)."""
        if self._ended:
            return
        self._ended = True
        if self._work is None:
            # Killed in its first moment: an earlier life may have left a pod all the same.
            try:
                self._work = await self._begun()
            except PodbayError as error:
                self.log.error(str(error) or type(error).__name__)
                return
        if self._work.keeps_killed:
            self.log.info("The pod is left alone (on_kill_action=keep_pod).")
        else:
            await self._work.killed()
        await self._passed_on()

    async def cleanup(self) -> None:
        """Also called when the triggerer stops, and the task goes on elsewhere; only a task whose time is up has ended."""
        deadline = self._deadline()
        if self._ended or deadline is None or datetime.now(UTC) < deadline:
            return
        await self._give_up()
        await self._passed_on()


def _import_work() -> Any:
    return importlib.import_module("podbay.airflow.work")


def event_of(end: TaskEnd, carried: Carried, *, try_number: int) -> TriggerEvent:
    """What ends the task; a plain event has a worker finish it."""
    from podbay.airflow.ending import needs_worker

    if needs_worker(end, carried, try_number=try_number):
        said = {"state": end.state, "message": end.message, "pushed": list(end.xcoms)}
        return TriggerEvent(said if end.memory is None else {**said, "memory": end.memory})
    if end.state == "success":
        return TaskSuccessEvent()
    return TaskSkippedEvent() if end.state == "skipped" else TaskFailedEvent()


def end_of_event(event: Any) -> tuple[str, str, list[str], Mapping[str, Any] | None]:
    """State, message, pushed XComs and memory (TaskEnd) of a plain event. Raises InvalidInputError for what is none of ours."""
    try:
        return event["state"], event["message"], event["pushed"], event.get("memory")
    except (TypeError, KeyError, AttributeError):
        raise InvalidInputError(
            f"the task was resumed with {event!r}, which is no event of its trigger"
        ) from None
