"""A task's log as Airflow's processes write it on this machine: files of JSON lines, several for one try.

Read from their ends, a few kilobytes: for a line in a table, or for the end of a failure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

__all__ = ["FAILURE_BYTES", "LogLine", "last_lines", "log_files"]

LIVE_BYTES = 16 * 1024
"""For a line in a table, read several times a second."""
FAILURE_BYTES = 2 * 1024 * 1024
"""For the end of a failure: one event with a traceback and its variables may have a hundred kilobytes."""
_QUIET = ("::group::", "::endgroup::")
_QUIET_LOGGERS = ("airflow.dag_processing.", "airflow.models.dagbag")
_QUIET_TEXTS = (
    "Worker startup parse complete",
    "Pushing xcom",
    "Done. Returned value was: None",
    "Trigger fired event",
    "trigger completed",
)
"""What Airflow says of every task."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One event of a task's log."""

    at: str
    """ISO 8601, as written."""
    level: str
    text: str
    error: str = ""
    """`ExceptionType: message` of the exception that the event carries."""
    frames: tuple[str, ...] = ()
    """Where it was raised, outermost first: `FILE:LINE in FUNCTION`."""
    logger: str = ""


def log_files(logs: Path, dag_id: str, run_id: str, task_id: str, map_index: int, number: int) -> list[Path]:
    """The files of a try, existing ones only. Source: Airflow's `[logging] log_filename_template`."""
    directory = logs / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
    if map_index >= 0:
        directory /= f"map_index={map_index}"
    return sorted(directory.glob(f"attempt={number}.log*"))


def last_lines(files: list[Path], count: int, *, tail: int = LIVE_BYTES) -> list[LogLine]:
    """The last lines of all files together, oldest first; without those that only group others.

    tail: bytes looked at in each file.
    """
    found = sorted((line for file in files for line in _read(file, tail)), key=lambda line: line.at)
    return found[-count:]


def _read(file: Path, tail: int) -> Iterator[LogLine]:
    try:
        with file.open("rb") as content:
            size = content.seek(0, 2)
            content.seek(max(0, size - tail))
            data = content.read()
    except OSError:
        return
    lines = data.split(b"\n")
    for line in lines if size <= tail else lines[1:]:
        parsed = _parse(line)
        if parsed is not None:
            yield parsed


def _parse(line: bytes) -> LogLine | None:
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(event, dict):
        return None
    text = str(event.get("event") or "")
    if event.get("exit_code") is not None:
        text += f" with exit code {event['exit_code']}"
    logger = str(event.get("logger") or "")
    begins = text.startswith("trigger ") and text.endswith(" starting")
    if begins or text.startswith(_QUIET) or text in _QUIET_TEXTS or logger.startswith(_QUIET_LOGGERS):
        return None
    at, level = str(event.get("timestamp") or ""), str(event.get("level") or "")
    details = event.get("error_detail") or ()
    if not details or not isinstance(details[0], dict):
        return LogLine(at, level, text, logger=logger)
    raised = details[0]
    frames = [f for f in raised.get("frames") or () if isinstance(f, dict)]
    return LogLine(
        at,
        level,
        text,
        f"{raised.get('exc_type')}: {raised.get('exc_value')}",
        tuple(f"{f.get('filename')}:{f.get('lineno')} in {f.get('name')}" for f in frames),
        logger,
    )
