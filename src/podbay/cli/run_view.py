"""What `podbay run` shows while a run goes on: a table that lives on a terminal, else a line for each change."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from podbay.airflow.running.picture import Picture, Row
from podbay.airflow.running.tasklog import last_lines, log_files
from podbay.cli.output import errors
from podbay.cli.rows import status_of
from podbay.objects.meta import name_of, namespace_of

__all__ = ["View", "duration", "show_while", "words"]

_REFRESH = 4
_STYLES = {
    "success": "green",
    "failed": "red",
    "upstream_failed": "red",
    "up_for_retry": "yellow",
    "skipped": "dim",
}
_URGENCY = {"running": 0, "deferred": 0, "failed": 1, "up_for_retry": 1, "queued": 2, "scheduled": 2}


class View(Protocol):
    """A session's listener that can be told what to show."""

    def attach(self, picture: Picture, logs: Path) -> None: ...

    def note(self, text: str) -> None: ...

    def changed(self, rows: Sequence[Row]) -> None: ...


@asynccontextmanager
async def show_while(*, quiet: bool) -> AsyncIterator[View]:
    """A view that is closed after the block."""
    if quiet:
        yield _Silence()
    elif sys.stdout.isatty():
        view = _Table()
        console = Console(highlight=False)
        with Live(view, console=console, refresh_per_second=_REFRESH, transient=True) as live:
            view.live = live
            yield view
    else:
        yield _Lines()


class _Silence:
    """With --output json stdout belongs to the document; notes go to stderr."""

    def attach(self, picture: Picture, logs: Path) -> None:
        pass

    def note(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            errors.print(text, markup=False)

    def changed(self, rows: Sequence[Row]) -> None:
        pass


class _Lines:
    """One line for each new state of a task or of its pod."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._picture: Picture | None = None
        self._said: dict[tuple[str, int], str] = {}

    def attach(self, picture: Picture, logs: Path) -> None:
        self._picture = picture

    def note(self, text: str) -> None:
        self._print(text)

    def changed(self, rows: Sequence[Row]) -> None:
        assert self._picture is not None
        for row in rows:
            if row.state is None:
                continue
            number = f", try {row.try_number}" if row.try_number > 1 else ""
            pod = row.pod()
            where = (
                f" (pod {namespace_of(pod)}/{name_of(pod)})"
                if pod is not None and not row.is_finished
                else ""
            )
            text = f"{row.name}{number}: {words(self._picture, row)}{where}"
            if self._said.get(row.key) != text:
                self._said[row.key] = text
                self._print(text)

    def _print(self, text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - self._started:6.1f} s  {text}\n")
        sys.stdout.flush()


class _Table:
    """Draws itself anew whenever the terminal asks."""

    def __init__(self) -> None:
        self.live: Live | None = None
        self._started = time.monotonic()
        self._picture = Picture()
        self._logs = Path()
        self._last: dict[tuple[str, int], str] = {}

    def attach(self, picture: Picture, logs: Path) -> None:
        self._picture, self._logs = picture, logs

    def note(self, text: str) -> None:
        if self.live is not None:
            self.live.console.print(Text(text, style="dim"))

    def changed(self, rows: Sequence[Row]) -> None:
        pass

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
        table.add_column("TASK", no_wrap=True, ratio=3)
        table.add_column("TRY", no_wrap=True)
        table.add_column("POD", no_wrap=True, ratio=4)
        table.add_column("STATE", no_wrap=True, ratio=4)
        table.add_column("TIME", no_wrap=True, justify="right")
        table.add_column("LAST LOG LINE", no_wrap=True, ratio=5)
        rows, hidden = _most_urgent(self._picture.sorted_rows(), console.size.height - 4)
        now = time.time()
        for row in rows:
            pod = row.pod()
            style = _STYLES.get(row.state or "", "")
            table.add_row(
                row.name,
                str(row.try_number or "-"),
                name_of(pod) if pod is not None else "-",
                Text(words(self._picture, row), style=style),
                duration(row, now),
                Text(self._last_line(row), style="dim"),
            )
        if rows:
            yield table
        counts = ", ".join(f"{number} {state}" for state, number in self._picture.counts().items())
        more = f", {hidden} more" if hidden else ""
        yield Text(f"{time.monotonic() - self._started:.0f} s  {counts or 'starting'}{more}", style="dim")

    def _last_line(self, row: Row) -> str:
        if row.state in ("running", "deferred"):
            picture = self._picture
            files = log_files(
                self._logs, picture.dag_id, picture.run_id, row.task_id, row.map_index, row.try_number
            )
            lines = last_lines(files, 1)
            if lines:
                self._last[row.key] = lines[0].text
        return self._last.get(row.key, "")


def _most_urgent(rows: list[Row], room: int) -> tuple[list[Row], int]:
    """As many as fit, in their order: those that run or failed before those that wait or are done."""
    room = max(3, room)
    if len(rows) <= room:
        return rows, 0
    chosen = sorted(rows, key=lambda row: _URGENCY.get(row.state or "", 3))[:room]
    keys = {row.key for row in chosen}
    return [row for row in rows if row.key in keys], len(rows) - room


def words(picture: Picture, row: Row) -> str:
    """The state of a task instance as a person says it: its own, its pod's, or what it waits for."""
    if row.state in ("running", "deferred"):
        pod = row.pod()
        if pod is not None:
            return status_of(pod)
        return "running" if row.state == "running" else "in the triggerer"
    if row.state is None:
        waits = picture.waits_for(row)
        return (
            f"waiting for {', '.join(waits[:3])}" + (" …" if len(waits) > 3 else "") if waits else "waiting"
        )
    return {
        "scheduled": f"waiting for a slot in pool {picture.pools.get(row.task_id, '')}",
        "queued": "waiting for a worker",
        "up_for_retry": "waiting to be tried again",
        "up_for_reschedule": "waiting to look again",
    }.get(row.state, row.state.replace("_", " "))


def duration(row: Row, now: float) -> str:
    """How long it has run, or ran."""
    if row.started is None or row.state is None:
        return "-"
    seconds = max(0.0, (row.ended if row.is_finished and row.ended else now) - row.started)
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60} m {int(seconds) % 60:02} s"
