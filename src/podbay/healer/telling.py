"""Says in Airflow what was done to a task's pod, and why: where somebody looks who wonders what became of the task.

Airflow's REST API writes no log lines. So it is the task instance's note, which the UI shows beside the log; and, where the
healer sees the folder of Airflow's logs, a file beside that of the try, which the UI shows as part of the log.
Source: airflow.utils.log.file_task_handler._read_from_local; [logging] log_filename_template.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from pathlib import Path
from typing import Final

import orjson

from podbay.errors import AirflowApiError
from podbay.healer.airflow_api import AirflowApi
from podbay.healer.restraint import Action
from podbay.healer.world import TaskInstance

__all__ = ["WORDS", "TaskTeller", "sentence"]

_log = logging.getLogger("podbay.healer")
WORDS: Final = {
    "delete": "was deleted",
    "force_delete": "was removed by force",
    "fail_task": "is gone, and the task was set to failed",
    "retry_task": "is gone, and the task was given another try",
}
_SUFFIX: Final = ".healer.log"


class TaskTeller:
    """Never fails an action: that it was done counts, and its Event says so too."""

    def __init__(self, airflow: AirflowApi, logs: Path | None) -> None:
        self._airflow = airflow
        self._logs = logs
        self._refused = ""

    async def tell(self, action: Action, now: datetime) -> None:
        """After it was done. Only of a task instance that is certain: several may share the labels of a pod."""
        if action.deed == "report" or len(action.expected) != 1:
            return
        owner = action.expected[0][1]
        if owner is None:
            return
        text = sentence(action)
        if self._logs is not None:
            await asyncio.to_thread(_append, self._logs, owner, text, now)
        if action.deed == "fail_task":
            # Its note came with the state.
            return
        try:
            await self._airflow.note(owner.key, f"{now:%Y-%m-%d %H:%M:%S}Z {text}")
        except AirflowApiError as error:
            if str(error) != self._refused:
                self._refused = str(error)
                _log.info("a task instance has no note of what was done to its pod: %s", error)


def sentence(action: Action) -> str:
    """For a person who looks at the task."""
    return f"Podbay's healer: pod {action.name} {WORDS[action.deed]}: {action.message} ({action.check})"


def _append(logs: Path, owner: TaskInstance, text: str, now: datetime) -> None:
    key = owner.key
    directory = logs / f"dag_id={key.dag_id}" / f"run_id={key.run_id}" / f"task_id={key.task_id}"
    if key.map_index >= 0:
        directory /= f"map_index={key.map_index}"
    name = f"attempt={owner.try_number}.log"
    line = {
        "timestamp": now.isoformat().replace("+00:00", "Z"),
        "level": "warning",
        "event": text,
        "logger": "podbay.healer",
    }
    try:
        # Ids may hold anything, and a try without a log has nobody who looks for a line in it.
        inside = directory.resolve().is_relative_to(logs.resolve())
        if not inside or not any(directory.glob(f"{name}*")):
            return
        with (directory / f"{name}{_SUFFIX}").open("ab") as file:
            file.write(orjson.dumps(line) + b"\n")
    except OSError as error:
        _log.info("the log of task %s has no line of what was done to its pod: %s", key, error)
