"""The end of `podbay run` with thousands of mapped tasks: a page, not a book; the JSON document has all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from podbay.airflow.running.failures import Failure
from podbay.airflow.running.home import AirflowHome
from podbay.airflow.running.picture import Picture
from podbay.airflow.running.session import Report
from podbay.cli.run_report import report_json, report_text

TASKS = 10_000


def ended(states: dict[str, int]) -> tuple[Picture, Report]:
    """A run of one mapped task whose instances ended so."""
    picture = Picture()
    picture.dag("birds", [{"task_id": "count", "upstream": [], "pool": "default_pool", "mapped": True}])
    instances = [state for state, number in states.items() for _ in range(number)]
    facts = {"task_id": "count", "try_number": 1, "max_tries": 0, "started": 1.0, "ended": 2.0}
    picture.tasks({**facts, "map_index": index, "state": state} for index, state in enumerate(instances))
    failures = [
        Failure(
            row=row,
            pod="",
            diagnosis=None,
            error=f"ValueError: {row.map_index % 2}",
            ours=False,
            where="birds.py:3 in count",
            lines=(),
            files=(),
        )
        for row in picture.sorted_rows()
        if row.state == "failed"
    ]
    return picture, Report(state="failed" if failures else "success", seconds=9.0, failures=failures)


def test_ten_thousand_that_succeed_are_a_line(tmp_path: Path) -> None:
    lines = report_text(*ended({"success": TASKS}), AirflowHome(tmp_path)).splitlines()
    assert lines[1] == f"  and {TASKS} more that succeeded"
    assert len(lines) == 4


def test_ten_thousand_that_fail_are_told_by_their_kinds(tmp_path: Path) -> None:
    picture, report = ended({"success": 1, "failed": TASKS, "upstream_failed": 7})
    text = report_text(picture, report, AirflowHome(tmp_path))
    assert len(text.splitlines()) < 300
    assert "  and 9800 more: failed\n  and 7 more: upstream failed\n  and 1 more that succeeded\n" in text
    assert text.count("count[") == 200 + 10
    assert f"And {TASKS - 10} more failed (all of them: -o json):\n  4995 x ValueError: 1\n" in text
    found = report_json(picture, report, AirflowHome(tmp_path))
    assert len(found["tasks"]) == TASKS + 8
    assert sum(task["error"] is not None for task in found["tasks"]) == TASKS


def test_a_few_failures_are_all_explained(tmp_path: Path) -> None:
    text = report_text(*ended({"failed": 3}), AirflowHome(tmp_path))
    assert text.count("    at birds.py:3 in count") == 3
    assert "more" not in text


def test_cause_fix_and_evidence_have_a_line_each(tmp_path: Path) -> None:
    picture, report = ended({"failed": 1})
    told = (
        'There is no service account "nobody". Create it, or correct `serviceAccountName`.\n'
        "  the API server says: 403 Forbidden"
    )
    own = replace(report.failures[0], error=told, ours=True, where="")
    text = report_text(picture, replace(report, failures=[own]), AirflowHome(tmp_path))
    assert (
        "\ncount[0] failed\n"
        '  There is no service account "nobody".\n'
        "  Create it, or correct `serviceAccountName`.\n"
        "    the API server says: 403 Forbidden\n"
        "\nThe run failed"
    ) in text


def test_an_exception_is_not_taken_apart_at_its_full_stops(tmp_path: Path) -> None:
    picture, report = ended({"failed": 1})
    raised = replace(report.failures[0], error="ValueError: bad. Worse:\n    - a\n    - b")
    text = report_text(picture, replace(report, failures=[raised]), AirflowHome(tmp_path))
    assert "  ValueError: bad. Worse:\n    at birds.py:3 in count\n        - a\n        - b\n" in text
