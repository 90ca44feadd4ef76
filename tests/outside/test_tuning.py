"""Which of Airflow's parts a component of a private Airflow changes before it begins, and which `podbay triggerer` does."""

from __future__ import annotations

import sys
from types import ModuleType

import airflow.__main__
import pytest

from podbay.airflow.running import (
    considerate_scheduler,
    inside,
    lean_api,
    lively_triggerer,
    patient_sqlite,
    thrifty_triggerer,
    tuning,
)

TRIGGERER = [
    "wait_for_writers",
    "serve_own_version_only",
    "look_often",
    "send_only_useful_callbacks",
    "share_dags",
    "read_logs_in_bulk",
    "answer_directly",
]
CHANGES: list[tuple[ModuleType, str]] = [
    (patient_sqlite, "wait_for_writers"),
    (lean_api, "serve_own_version_only"),
    (lively_triggerer, "look_often"),
    (lively_triggerer, "send_only_useful_callbacks"),
    (thrifty_triggerer, "share_dags"),
    (thrifty_triggerer, "read_logs_in_bulk"),
    (thrifty_triggerer, "answer_directly"),
    (considerate_scheduler, "rest_between_looks"),
]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done, in order; nothing of it really is."""
    found: list[str] = []

    def recorder(name: str) -> object:
        return lambda *_: found.append(name) or True

    for module, name in CHANGES:
        assert callable(getattr(module, name))
        for place in (module, tuning):
            if hasattr(place, name):
                monkeypatch.setattr(place, name, recorder(name))
    monkeypatch.setattr(inside, "end_with_parent", recorder("end_with_parent"))
    monkeypatch.setattr(inside, "_warm", lambda: None)
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr(airflow.__main__, "main", lambda: found.append(" ".join(sys.argv)))
    return found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("triggerer", [*TRIGGERER, "airflow triggerer --skip-serve-logs"]),
        (
            "scheduler",
            [
                "rest_between_looks",
                "end_with_parent",
                "wait_for_writers",
                "airflow scheduler --skip-serve-logs",
            ],
        ),
        ("dag-processor", ["wait_for_writers", "airflow dag-processor"]),
        # Not the long wait for SQLite: its event loop would wait for sessions that only it can end.
        ("api-server", ["serve_own_version_only", "airflow api-server"]),
        ("task-api", ["serve_own_version_only", "airflow api-server --apps execution"]),
    ],
)
def test_components(done: list[str], name: str, expected: list[str]) -> None:
    inside.component(name)
    assert done == expected


def test_the_command(done: list[str]) -> None:
    tuning.be_triggerer(["--capacity", "7"])
    assert done == [*TRIGGERER, "airflow triggerer --capacity 7"]
