"""Results that were asked for and cannot be had, though the task ended well. Readings: podbay.pods.result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import orjson

from podbay.lifecycle.diagnosis.category import Category
from podbay.lifecycle.diagnosis.model import Diagnosis
from podbay.lifecycle.diagnosis.sight import Sight
from podbay.pods.result import RESULT_PATH, ResultReading

__all__ = ["CATEGORIES", "find_result_trouble"]

MISSING: Final = Category(
    word="ResultMissing",
    meaning="What carries the result out of the pod said nothing before the pod was gone.",
    fix="Look at the log of container airflow-xcom-sidecar, if the pod is still there; something ended it before its time.",
    blame="infrastructure",
    heals="never",
)
DAMAGED: Final = Category(
    word="ResultDamaged",
    meaning="The result's beginning or end is missing, or its checksum does not agree.",
    fix="Try again; if it stays so, look for what rotates or rewrites container logs on the node.",
    blame="infrastructure",
    heals="never",
)
TOO_LARGE: Final = Category(
    word="ResultTooLarge",
    meaning="The result is larger than its limit.",
    fix="Write large data to object storage and return its address.",
    blame="user",
    heals="never",
)
UNREADABLE: Final = Category(
    word="ResultUnreadable",
    meaning="The result file is there, and the sidecar may not read it.",
    fix=f"Write {RESULT_PATH} so that the pod's user can read it (`chmod a+r`).",
    blame="user",
    heals="never",
)
NOT_JSON: Final = Category(
    word="ResultNotJson",
    meaning="The result is not JSON.",
    fix=f"Write JSON to {RESULT_PATH}, with `json.dump` for instance; a text needs its quotes.",
    blame="user",
    heals="never",
)

CATEGORIES: Final = (MISSING, DAMAGED, TOO_LARGE, UNREADABLE, NOT_JSON)


def find_result_trouble(sight: Sight) -> Iterator[Diagnosis]:
    """What the caller read as result, if it is none."""
    reading = sight.facts.context.get("result")
    if not isinstance(reading, ResultReading):
        return
    line = f"the result was read as: {reading.state}"
    if reading.state == "missing":
        yield MISSING.found(f"The result of {sight.name} is lost: its sidecar said nothing", evidence=[line])
    elif reading.state == "damaged":
        yield DAMAGED.found(f"The result of {sight.name} is incomplete or damaged", evidence=[line])
    elif reading.state == "too_large":
        cause = f"The result of {sight.name} has {reading.size} bytes, and {reading.limit} are the limit"
        yield TOO_LARGE.found(cause, evidence=[line])
    elif reading.state == "unreadable":
        yield UNREADABLE.found(
            f"The sidecar of {sight.name} may not read the result file {RESULT_PATH}", evidence=[line]
        )
    elif reading.state == "value" and (trouble := _not_json(reading.value)):
        cause = f"The result of {sight.name} is not JSON: {trouble}"
        yield NOT_JSON.found(cause, evidence=[f"the result has {len(reading.value)} bytes"])


def _not_json(value: bytes) -> str:
    """Where reading failed; empty for JSON. The content itself is not shown, it may be secret."""
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError as err:
        return str(err)
    return ""
