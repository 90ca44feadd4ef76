"""What `podbay run` says at the end: each task, why one failed, where the logs are. As text or as one JSON document."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from podbay.airflow.running.failures import Failure
from podbay.airflow.running.home import AirflowHome
from podbay.airflow.running.picture import Picture, Row
from podbay.airflow.running.session import Report
from podbay.cli.rows import pod_json
from podbay.cli.run_view import duration
from podbay.lifecycle.diagnosis.model import diagnosis_to_json
from podbay.objects.meta import Object

__all__ = ["report_json", "report_text"]

_MANY = 30
"""Task instances; of more only those that did not succeed are listed."""
_MOST_LISTED = 200
_MOST_EXPLAINED = 10
"""Failures; of more only their kinds are told. `-o json` has all."""


def report_text(picture: Picture, report: Report, home: AirflowHome) -> str:
    """For a person."""
    lines = [""]
    rows = picture.sorted_rows()
    listed = rows if len(rows) <= _MANY else [row for row in rows if row.state != "success"]
    succeeded = len(rows) - len(listed)
    listed, more = listed[:_MOST_LISTED], listed[_MOST_LISTED:]
    width = max((len(row.name) for row in listed), default=0)
    for row in listed:
        tries = f", {row.try_number} tries" if row.try_number > 1 else ""
        lines.append(f"  {row.name:{width}}  {_state(row, report)}  {duration(row, time.time())}{tries}")
    counts = Counter(_state(row, report) for row in more)
    lines += [f"  and {number} more: {state}" for state, number in counts.items()]
    if succeeded:
        lines.append(f"  and {succeeded} more that succeeded")
    for failure in report.failures[:_MOST_EXPLAINED]:
        lines += ["", *_failure(failure)]
    lines += _other_failures(report.failures[_MOST_EXPLAINED:])
    ends = {"success": "succeeded", "failed": "failed", "interrupted": "was ended"}
    lines += ["", f"The run {ends[report.state]} after {report.seconds:.1f} s. Logs: {home.logs}"]
    return "\n".join(lines) + "\n"


def _other_failures(failures: Sequence[Failure]) -> list[str]:
    kinds = Counter(
        found.category
        if (found := failure.diagnosis) is not None
        else _cut(failure.error) or "no reason known"
        for failure in failures
    )
    told = [f"  {number} x {kind}" for kind, number in kinds.most_common(_MOST_EXPLAINED)]
    return ["", f"And {len(failures)} more failed (all of them: -o json):", *told] if failures else []


def _state(row: Row, report: Report) -> str:
    if report.state == "interrupted" and row.state in ("running", "deferred"):
        return "ended"
    return (row.state or "not run").replace("_", " ")


def _failure(failure: Failure) -> list[str]:
    """Cause, fix, evidence; then what the program said itself."""
    pod = f" (pod {failure.pod})" if failure.pod else ""
    lines = [f"{failure.row.name} failed{pod}"]
    found = failure.diagnosis
    if found is not None:
        cause, fix, evidence = f"{found.cause}.", found.fix, list(found.evidence)
    else:
        cause, fix, evidence = _parts(failure)
    lines += [f"  {each}" for each in (cause, fix) if each]
    lines += [f"    {each}" for each in evidence]
    if failure.lines:
        lines.append("  The end of its log:")
        lines += [f"    {_cut(line.text)}" for line in failure.lines]
    return lines


def _parts(failure: Failure) -> tuple[str, str, list[str]]:
    """Of what the log says of it."""
    # Our evidence is indented by itself; an exception's lines may mean something by it.
    bare = str.strip if failure.ours else str.rstrip
    first, *evidence = (bare(line) for line in failure.error.strip().splitlines() or [""])
    if failure.where:
        evidence.insert(0, f"at {failure.where}")
    cause, stop, fix = first.partition(". ") if failure.ours else (first, "", "")
    return (cause + stop).rstrip(), fix, evidence


def _cut(text: str) -> str:
    text = text.strip().replace("\n", "\n    ")
    return text if len(text) <= 1000 else text[:999] + "…"


def report_json(picture: Picture, report: Report, home: AirflowHome) -> dict[str, Any]:
    """For a program. Fields may be added, none goes."""
    failures = {failure.row.key: failure for failure in report.failures}
    return {
        "dag": picture.dag_id,
        "run": picture.run_id,
        "state": report.state,
        "seconds": round(report.seconds, 3),
        "logs": str(home.logs),
        "tasks": [_task_json(row, failures.get(row.key)) for row in picture.sorted_rows()],
    }


def _pod_json(pod: Object) -> dict[str, Any]:
    whole = pod_json(pod)
    return {name: whole[name] for name in ("namespace", "name", "image", "imageID")}


def _task_json(row: Row, failure: Failure | None) -> dict[str, Any]:
    pod = row.pod()
    return {
        "task": row.task_id,
        "mapIndex": row.map_index if row.map_index >= 0 else None,
        "state": row.state,
        "tries": row.try_number,
        "seconds": round(row.ended - row.started, 3) if row.started and row.ended else None,
        "pod": _pod_json(pod) if pod is not None else None,
        "diagnosis": diagnosis_to_json(failure.diagnosis) if failure and failure.diagnosis else None,
        "error": failure.error or None if failure else None,
        "where": failure.where or None if failure else None,
        "log": [str(file) for file in failure.files] if failure else None,
    }
