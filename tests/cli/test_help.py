"""What `--help` says: of every command, and no type beside what takes no value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer

from podbay.cli.flags import untyped_flags
from podbay.cli.main import app

ROOT = untyped_flags(typer.main.get_command(app))


def commands(command: Any, *above: str) -> Iterator[tuple[str, ...]]:
    yield above
    for name, each in getattr(command, "commands", {}).items():
        yield from commands(each, *above, name)


@pytest.fixture
def help_of(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.setenv("COLUMNS", "200")

    def said(*words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            ROOT([*words, "--help"])
        assert not ended.value.code
        return " ".join(capsys.readouterr().out.split())

    return said


@pytest.mark.parametrize("words", list(commands(ROOT)), ids=" ".join)
def test_flags_have_no_type(words: tuple[str, ...], help_of: Callable[..., str]) -> None:
    said = help_of(*words)
    assert "--help" in said
    assert "<bool>" not in said and "BOOLEAN" not in said


def test_a_connection_is_read_to_be_tested_and_written_when_added(help_of: Callable[..., str]) -> None:
    tested = help_of("connection", "test")
    assert "Read the connection from this Airflow." in tested and "instead of printing" not in tested
    assert "Write it into this Airflow instead of printing it." in help_of("connection", "add", "kubeconfig")
