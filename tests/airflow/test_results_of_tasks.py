"""What of a pod's result becomes an XCom."""

from __future__ import annotations

import json
from typing import Any

import pytest

from podbay.airflow.carried import Carried
from podbay.airflow.ending import end_of
from podbay.lifecycle.outcome import Outcome

PLAINLY = Carried(parameters={})
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
