"""Tables: ages in words, and the Table object as a real cluster sends it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from podbay.apiserver.kinds.pod import POD
from podbay.apiserver.registry import Column, ResourceType, Strategy
from podbay.apiserver.tables import AGE_COLUMN, NAME_COLUMN, age, human_duration, since, table_for
from podbay.objects.resource import GVR

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MINUTE, HOUR, DAY, YEAR = 60, 3600, 86400, 365 * 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-2, "<invalid>"),
        (-1, "0s"),
        (-0.5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (2 * MINUTE, "2m"),
        (9 * MINUTE + 59, "9m59s"),
        (10 * MINUTE, "10m"),
        (179 * MINUTE, "179m"),
        (3 * HOUR, "3h"),
        (7 * HOUR + 59 * MINUTE, "7h59m"),
        (8 * HOUR, "8h"),
        (47 * HOUR, "47h"),
        (2 * DAY, "2d"),
        (7 * DAY + 23 * HOUR, "7d23h"),
        (8 * DAY, "8d"),
        (2 * YEAR - DAY, "729d"),
        (2 * YEAR, "2y"),
        (7 * YEAR + 3 * DAY, "7y3d"),
        (8 * YEAR + 3 * DAY, "8y"),
    ],
)
def test_durations_have_two_or_three_figures(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def test_age_of_an_object() -> None:
    created = (NOW - timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert age({"metadata": {"creationTimestamp": created}}, NOW) == "5m"
    assert age({"metadata": {}}, NOW) == "<unknown>"
    assert since("2026-01-02T03:04:00.500000Z", NOW) == "4s"


THINGS = ResourceType(
    gvr=GVR("", "v1", "things"),
    kind="Thing",
    type_name="",
    namespaced=True,
    strategy=Strategy(),
    columns=(NAME_COLUMN, Column("Size", "integer", "How big.", priority=1), AGE_COLUMN),
    cells=lambda obj, now: [obj["metadata"]["name"], obj["size"], age(obj, now)],
)


def thing(name: str = "a", **more: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "resourceVersion": "7", "creationTimestamp": "2026-01-02T03:04:00Z"},
        "size": 3,
        **more,
    }


def test_list_table_carries_metadata_rows_and_columns() -> None:
    table = table_for(THINGS, [thing()], now=NOW, list_metadata={"resourceVersion": "9", "continue": ""})
    assert table["kind"] == "Table"
    assert table["apiVersion"] == "meta.k8s.io/v1"
    assert table["metadata"] == {"resourceVersion": "9"}
    assert table["columnDefinitions"][1] == {
        "name": "Size",
        "type": "integer",
        "format": "",
        "description": "How big.",
        "priority": 1,
    }
    (row,) = table["rows"]
    assert row["cells"] == ["a", 3, "5s"]
    assert row["object"] == {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": thing()["metadata"],
    }


def test_object_table_has_the_version_of_the_object() -> None:
    table = table_for(THINGS, [thing()], now=NOW, include="Object", with_columns=False)
    assert table["metadata"] == {"resourceVersion": "7"}
    assert table["columnDefinitions"] == []
    assert table["rows"][0]["object"] == {**thing(), "kind": "Thing", "apiVersion": "v1"}
    assert "object" not in table_for(THINGS, [thing()], now=NOW, include="None")["rows"][0]
    assert table_for(THINGS, [thing()], now=NOW, version="v1beta1")["apiVersion"] == "meta.k8s.io/v1beta1"


def test_rows_may_be_marked() -> None:
    rows = table_for(POD, [thing(status={"phase": p}) for p in ("Failed", "Running")], now=NOW)["rows"]
    assert rows[0]["conditions"] == [
        {"type": "Completed", "status": "True", "reason": "Failed", "message": "The pod failed."}
    ]
    assert "conditions" not in rows[1]
