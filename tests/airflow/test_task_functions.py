"""`@task.pod`: what is sent to the pod, and what the pod makes of it. The pod is a process here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any

import pytest

from podbay.airflow.function import check_callable, pod_command
from podbay.errors import InvalidInputError


def run_in_pod(function: Any, *args: Any, tmp_path: Path, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    command, arguments = pod_command(
        check_callable(function), args, kwargs, result=str(tmp_path / "return.json")
    )
    command[0] = sys.executable
    # A pod's environment says nothing about Python; a developer's shell may.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path, env=env
    )


def returns(first: Any, *, second: Any = None) -> Any:
    """Not seen by the pod's reader."""
    import sys

    def inner(value: Any) -> str:
        return f"{type(value).__name__} {value}"

    print(sys.argv)
    return [inner(first), inner(second)]


def test_a_function_gets_what_it_was_given(tmp_path: Path) -> None:
    given = {
        "text": "ü",
        "tuple": (1, 2),
        "set": {1},
        "bytes": b"x",
        "at": datetime(2026, 1, 2, tzinfo=UTC),
        "day": date(2026, 1, 2),
        "for": timedelta(seconds=3),
        "keys": {1: "one"},
        "$podbay": "mine",
        "path": Path("/x"),
        "large": 1 << 70,
    }
    done = run_in_pod(returns, list(range(60_000)), second=given, tmp_path=tmp_path)
    assert (done.returncode, done.stdout) == (0, "['-c']\n"), done.stderr
    first, second = json.loads((tmp_path / "return.json").read_text())
    assert first == f"list {list(range(60_000))}"
    assert second.removeprefix("dict ").replace("PosixPath", "Path") == str(given).replace(
        "PosixPath", "Path"
    )


class Share(float):
    """As numpy's float64."""


class Count(int): ...


class Level(IntEnum):
    HIGH = 3


class Word(StrEnum):
    A = "a"
    B = "b"


class Scalar:
    """As numpy's other numbers, which are none of Python's."""

    def __float__(self) -> float:
        return 1.0


def test_numbers_arrive_as_the_numbers_they_are(tmp_path: Path) -> None:
    nan, inf = float("nan"), float("inf")
    given = {
        "none": [None, nan, True],
        "ends": [1.0, inf, -inf, -0.0],
        "own": (Share(0.1), Count(3), Count(1 << 70), Level.HIGH, Share("nan")),
        "keys": {inf: nan, Share(0.5): 1 << 70, 1 << 70: 1, None: 2},
        "words": {Word.A: Word.B},
    }
    plain = {
        "none": [None, nan, True],
        "ends": [1.0, inf, -inf, -0.0],
        "own": (0.1, 3, 1 << 70, 3, nan),
        "keys": {inf: nan, 0.5: 1 << 70, 1 << 70: 1, None: 2},
        "words": {"a": "b"},
    }
    done = run_in_pod(returns, nan, second=given, tmp_path=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "return.json").read_text()) == ["float nan", f"dict {plain}"]


def test_what_the_image_has_no_class_for_is_told(tmp_path: Path) -> None:
    done = run_in_pod(returns, Scalar(), tmp_path=tmp_path)
    assert done.returncode == 1
    assert f"an argument of type {__name__}.Scalar cannot be read in this image" in done.stderr


def test_a_traceback_shows_the_function(tmp_path: Path) -> None:
    def fails() -> None:
        raise KeyError("on purpose")

    done = run_in_pod(fails, tmp_path=tmp_path)
    assert done.returncode == 1
    assert 'raise KeyError("on purpose")' in done.stderr


def test_lines_are_out_before_the_function_ends(tmp_path: Path) -> None:
    """In time for the log, and not lost with a function that is killed, as for want of memory."""

    def is_killed() -> None:
        import os
        import signal

        print("begun")
        os.kill(os.getpid(), signal.SIGKILL)

    done = run_in_pod(is_killed, tmp_path=tmp_path)
    assert (done.returncode, done.stdout) == (-9, "begun\n")


LIMIT = 3


def test_names_that_a_function_makes_itself_are_no_others(tmp_path: Path) -> None:
    def makes(first: Any = len("abc")) -> Any:  # noqa: B008 - to be computed in the pod
        from dataclasses import asdict, dataclass

        @dataclass
        class Row:
            count: int
            doubled: int = 0

            factor = 2
            both = (factor, factor)

            def __post_init__(self) -> None:
                self.doubled = self.count * Row.factor

        def begin() -> None:
            global begun
            begun = True

        def at(path: Path) -> Path:
            return path

        begin()
        return [asdict(Row(first)), begun, Row.both, at(first)]  # type: ignore[name-defined]

    done = run_in_pod(makes, tmp_path=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "return.json").read_text()) == [
        {"count": 3, "doubled": 6},
        True,
        [2, 2],
        3,
    ]


def test_functions_that_cannot_run_alone_are_refused() -> None:
    outside = 3

    def closes() -> int:
        return outside

    def module() -> str:
        return json.dumps({})

    def has_default(number: int = LIMIT) -> int:
        return number

    def has_keyword(*, path: Path = Path("/x")) -> Path:
        return path

    def has_class() -> int:
        class Row:
            limit = LIMIT

        return Row.limit

    def hides() -> int:
        class Row:
            LIMIT = LIMIT

        return Row.LIMIT

    async def coroutine() -> None: ...

    for function, said in (
        (closes, "uses outside of the function around it"),
        (module, "uses json of the DAG file"),
        (has_default, "uses LIMIT of the DAG file"),
        (has_keyword, "uses Path of the DAG file"),
        (has_class, "uses LIMIT of the DAG file"),
        (hides, "uses LIMIT of the DAG file"),
        (coroutine, "not async"),
        (lambda: 1, "written with def"),
        (len, "written with def"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            check_callable(function)


def test_arguments_that_no_pod_can_hold_are_refused() -> None:
    import random

    noise = random.Random(1).randbytes(1_000_000)
    with pytest.raises(InvalidInputError, match="Put large data where both sides can read it"):
        pod_command(check_callable(returns), [noise], {}, result="")
