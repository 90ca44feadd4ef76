"""`podbay up` before it starts anything, and where another one runs already."""

from __future__ import annotations

from pathlib import Path

import pytest

from podbay.airflow.running import stack
from podbay.airflow.running.home import up_home
from podbay.cli.up import _other_dags
from podbay.errors import ConflictError, InvalidInputError


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("PODBAY_HOME", str(tmp_path / "podbay"))
    return tmp_path


def test_what_cannot_be_started_is_refused_and_nothing_is_kept(home: Path) -> None:
    with pytest.raises(InvalidInputError, match="name the directory with your DAG files"):
        stack.check(stack.UpRequest())
    with pytest.raises(InvalidInputError, match="absent: no such directory"):
        stack.check(stack.UpRequest(dags=home / "absent"))
    stack.check(stack.UpRequest(dags=home))
    assert not (up_home().directory / "settings.json").exists()


def test_other_dags_than_those_of_the_running_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = {"url": "http://127.0.0.1:8080", "dags": str(home / "dep" / "dags")}
    monkeypatch.setattr(stack, "status", lambda _=None: running)
    stack.check(stack.UpRequest())
    with pytest.raises(ConflictError, match="Stop it: podbay down"):
        stack.check(stack.UpRequest(dags=home))


def test_the_way_to_the_dags_of_this_directory(home: Path) -> None:
    dags = home / "dep" / "dags"
    assert _other_dags(dags, home / "dep") == ""
    assert _other_dags(dags, dags) == ""
    assert _other_dags(dags, home / "else") == "For the DAGs here: podbay down, then podbay up --dags DIR"
    mine = home / "else" / "dags"
    mine.mkdir(parents=True)
    assert _other_dags(dags, home / "else").endswith(f"podbay up --dags {mine}")
