"""`@task.pod` where a DAG file is read: which calls of a function are refused."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import pytest
from airflow.sdk import DAG, task

from podbay.airflow.carried import Carried
from podbay.airflow.mapping import start_mapped
from podbay.errors import InvalidInputError

LIMIT = 3
Call = Callable[[Any], Any]


def wants_date(ds: str) -> str:
    return ds


def wants_instance(number: int = 1, *rest: int, ti: Any = None) -> int:
    return number


def wants_both(number: int, run_id: str, params: Any = None) -> int:
    return number


def uses_global(number: int) -> int:
    return number + LIMIT


def plain(number: int, **more: Any) -> int:
    return number


def made(function: Callable[..., Any], call: Call) -> Any:
    with DAG("functions"):
        return call(task.pod(image="python:3.12")(function)).operator


@pytest.mark.parametrize(
    ("function", "call", "said"),
    [
        (wants_date, lambda f: f(), "gives ds to functions that run on workers"),
        (wants_instance, lambda f: f(1, 2, 3), "gives ti to"),
        (wants_both, lambda f: f(1), "gives run_id, params to"),
        (wants_both, lambda f: f(1, params={}), r'gives run_id to .* run_id="\{\{ run_id \}\}"'),
    ],
)
def test_what_airflow_would_fill_in_must_be_given(
    function: Callable[..., Any], call: Call, said: str
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        made(function, call)


def test_what_is_given_is_no_business_of_airflows() -> None:
    assert made(wants_date, lambda f: f(ds="{{ ds }}")).op_kwargs == {"ds": "{{ ds }}"}
    assert made(wants_both, lambda f: f(1, "r", {})).op_args == (1, "r", {})
    assert made(plain, lambda f: f(1, other=2)).op_kwargs == {"other": 2}


class Share(float): ...


class Word(StrEnum):
    A = "a"


def test_numbers_that_cannot_travel_start_on_a_worker_and_others_are_plain() -> None:
    task = made(plain, lambda f: f(Share(0.5), words={Word.A: Word.A}))
    carried = Carried.from_text(task.start_trigger_args.trigger_kwargs["spec"])
    assert carried.parameters["op_args"] == [0.5]
    assert carried.parameters["op_kwargs"] == {"words": {"a": "a"}}
    for number in (float("nan"), [float("inf")]):
        placement = made(plain, lambda f, number=number: f(number)).podbay_description().placement()
        assert placement.where == "worker start"
        assert "JSON has no word for" in placement.reason


@pytest.mark.parametrize(
    ("function", "said"), [(wants_both, "gives run_id, params to"), (uses_global, "uses LIMIT")]
)
@pytest.mark.parametrize("pool", ["default_pool", "small"])
def test_mapped_calls_are_looked_at_wherever_they_start(
    function: Callable[..., Any], said: str, pool: str
) -> None:
    mapped = made(function, lambda f: f.override(pool=pool).expand(number=[1, 2]))
    with pytest.raises(InvalidInputError, match=said):
        start_mapped(mapped)


def test_a_mapped_call_may_give_all_in_its_rows() -> None:
    rows = [{"number": 1, "run_id": "r", "params": {}}]
    mapped = made(wants_both, lambda f: f.expand_kwargs(rows))
    start_mapped(mapped)
    assert mapped.start_from_trigger
