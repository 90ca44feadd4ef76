"""Which cluster is meant before anything is rendered, and which trouble passes by itself."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Any

import pytest

from podbay.airflow import trouble
from podbay.airflow.carried import Carried
from podbay.airflow.trouble import answered, is_lasting, is_outside, pauses
from podbay.airflow.unrendered import cluster_parameters
from podbay.errors import ApiError, CredentialError, InvalidInputError, UnreachableError

XCOM = {"$podbay": "xcom", "task": "t", "key": "return_value", "index": "none", "optional": False}


def test_what_says_nothing_of_the_cluster_may_be_unknown() -> None:
    carried = Carried(parameters={"image": XCOM, "kubernetes_conn_id": "eks", "name": "{{ ds }}"})
    assert cluster_parameters(carried) == {"kubernetes_conn_id": "eks"}
    mapped = Carried(parameters={}, expansion={"kind": "dict-of-lists", "value": {"image": ["a", "b"]}})
    assert cluster_parameters(mapped) == {}


@pytest.mark.parametrize(
    ("parameters", "expansion", "named"),
    [
        ({"kubernetes_conn_id": "{{ var.value.c }}"}, None, "kubernetes_conn_id"),
        ({"config_file": XCOM}, None, "config_file"),
        ({}, {"kind": "dict-of-lists", "value": {"cluster_context": ["a", "b"]}}, "cluster_context"),
        ({}, {"kind": "list-of-dicts", "value": XCOM}, r"expand_kwargs\(\)"),
        ({}, {"kind": "list-of-dicts", "value": [{"in_cluster": True}]}, "in_cluster"),
    ],
)
def test_a_cluster_that_is_not_known_yet_is_not_guessed(
    parameters: dict[str, Any], expansion: dict[str, Any] | None, named: str
) -> None:
    with pytest.raises(InvalidInputError, match=f"not known yet: {named} had not been rendered"):
        cluster_parameters(Carried(parameters=parameters, expansion=expansion))


def test_what_is_rendered_has_no_templates() -> None:
    carried = Carried(parameters={"kubernetes_conn_id": "{{ odd }}"}, rendered=True)
    assert cluster_parameters(carried) == {"kubernetes_conn_id": "{{ odd }}"}


def test_trouble_that_lasts() -> None:
    lasting = [InvalidInputError("x"), ApiError(403, "Forbidden", "no"), ApiError(404, "NotFound", "no")]
    passing = [
        ApiError(429, "", ""),
        ApiError(503, "", ""),
        UnreachableError("refused", "x"),
        CredentialError("x"),
    ]
    assert all(map(is_lasting, lasting))
    assert not any(map(is_lasting, [*passing, TimeoutError()]))
    assert all(map(is_outside, [*lasting, *passing, TimeoutError()]))
    assert not is_outside(LookupError())


def test_pauses_grow_up_to_a_minute() -> None:
    assert list(islice(pauses(), 6)) == [5, 10, 20, 40, 60, 60]


async def test_airflow_is_asked_until_it_answers_or_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trouble, "FIRST_PAUSE", 0.01)
    said: list[str] = []
    answers: list[Any] = [TimeoutError(), LookupError("odd"), 7]

    async def ask() -> int:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return int(found)

    assert await answered(ask, said.append, seconds=60) == 7
    assert said == [
        "Airflow has not answered: TimeoutError; it is asked again in 0.01 s.",
        "Airflow has not answered: odd; it is asked again in 0.02 s.",
    ]
    answers = [TimeoutError("no")]
    with pytest.raises(TimeoutError, match="no"):
        await answered(ask, said.append, seconds=0)
    answers = [InvalidInputError("wrong"), 7]
    with pytest.raises(InvalidInputError, match="wrong"):
        await asyncio.wait_for(answered(ask, said.append, seconds=60), 60)
