"""What of a pod's result becomes an XCom, whatever its numbers are and however its task ended."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from podbay.airflow.carried import Carried
from podbay.airflow.ending import end_of
from podbay.lifecycle.outcome import Outcome

PLAINLY = Carried(parameters={})
SEVERAL = Carried(parameters={}, multiple_outputs=True)
OVER = Carried(parameters={}, mapped_over=True)
ASKED: dict[str, Any] = {"do_xcom_push": True}


def outcome(**fields: Any) -> Outcome:
    return Outcome(**{"kind": "succeeded", "message": "m", "pod": "p", **fields})


@pytest.mark.parametrize("number", [123456789012345678901234, -(2**63) - 1, 2**64, 10**300])
def test_whole_numbers_keep_their_digits(number: int) -> None:
    end = end_of(outcome(result=json.dumps({"id": number}).encode()), ASKED, PLAINLY)
    assert end.state == "success"
    assert end.xcoms == {"return_value": {"id": number}}


@pytest.mark.parametrize(
    "text",
    [b"NaN", b"[Infinity]", b'{"a": -Infinity}', b"[" * 100_000, b"\xff", b"9" * 5000, b"\xef\xbb\xbf1"],
)
def test_what_is_no_json_is_no_result(text: bytes) -> None:
    end = end_of(outcome(result=text), ASKED, PLAINLY)
    assert (end.state, end.xcoms) == ("failed", {})
    assert end.message.startswith("the result of pod p is not JSON: ")


@pytest.mark.parametrize(("skips", "state"), [(None, "failed"), (3, "skipped")])
def test_that_of_a_failed_or_skipped_task_is_told_and_changes_nothing(skips: int | None, state: str) -> None:
    given = {**ASKED, "skip_on_exit_code": skips}
    ended = outcome(kind="failed", exit_code=3, result=b'{"a": 1}')
    message = "m" if skips is None else "Pod p ended with exit code 3: skipped."
    end = end_of(ended, given, SEVERAL)
    assert (end.state, end.message) == (state, message)
    assert list(end.xcoms.items()) == [("a", 1), ("return_value", {"a": 1})]
    assert end_of(ended, {**given, "do_xcom_push": False}, SEVERAL).xcoms == {}
    for result in (b"[1]", b"{", None):
        end = end_of(replace(ended, result=result), given, SEVERAL)
        assert (end.state, end.message, end.xcoms) == (state, message, {})
    for result in (b"7", None):
        end = end_of(replace(ended, result=result), given, OVER)
        assert (end.state, end.message) == (state, message)
