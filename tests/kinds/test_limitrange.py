from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from podbay.apiserver.kinds.limitrange import LIMIT_RANGE, LimitRangeStrategy
from podbay.apiserver.registry import StrategyContext
from podbay.apiserver.request import User

CONTEXT = StrategyContext(now=datetime(2026, 1, 1, tzinfo=UTC), user=User("u"), namespace="n")
STRATEGY = LimitRangeStrategy(lambda: "made-up")


def _errors(*limits: dict[str, Any]) -> list[str]:
    obj = {"metadata": {"name": "lr"}, "spec": {"limits": list(limits)}}
    return [str(error) for error in STRATEGY.validate(obj, CONTEXT)]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"max": {"cpu": "2"}}, {"default": {"cpu": "2"}, "defaultRequest": {"cpu": "2"}}),
        ({"min": {"cpu": "1"}}, {"defaultRequest": {"cpu": "1"}}),
        (
            {"min": {"cpu": "1"}, "default": {"cpu": "3"}},
            {"default": {"cpu": "3"}, "defaultRequest": {"cpu": "3"}},
        ),
        (
            {"max": {"cpu": "4"}, "default": {"cpu": "3"}, "defaultRequest": {"cpu": "2"}},
            {"default": {"cpu": "3"}, "defaultRequest": {"cpu": "2"}},
        ),
        ({"maxLimitRequestRatio": {"cpu": "2"}}, {}),
    ],
)
def test_defaults_of_container_items(given: dict[str, Any], stored: dict[str, Any]) -> None:
    obj = {"spec": {"limits": [{"type": "Container", **given}]}}
    STRATEGY.set_defaults(obj)
    assert obj["spec"]["limits"] == [{"type": "Container", **given, **stored}]


def test_other_items_have_no_defaults_and_quantities_are_rounded_up() -> None:
    obj = {"spec": {"limits": [{"type": "Pod", "max": {"cpu": "1u"}}]}}
    STRATEGY.set_defaults(obj)
    assert obj["spec"]["limits"] == [{"type": "Pod", "max": {"cpu": "1m"}}]


def test_a_name_is_made_up_when_there_is_none() -> None:
    for metadata, name in (({}, "made-up"), ({"name": "own"}, "own")):
        obj: dict[str, Any] = {"metadata": dict(metadata)}
        STRATEGY.prepare_for_create(obj, CONTEXT)
        assert obj["metadata"]["name"] == name


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ([{"type": "Container", "max": {"cpu": "1"}, "min": {"cpu": "1"}}], []),
        ([{"type": "example.com/thing", "max": {"storage": "1"}}], []),
        (
            [{"type": "Pod"}, {"type": "Pod"}],
            ['spec.limits[1].type: Duplicate value: "Pod"'],
        ),
        (
            [{"type": "Foo"}],
            ['spec.limits[0].type: Invalid value: "Foo": must be a standard limit type or fully qualified'],
        ),
        (
            [{"type": "Pod", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1"}}],
            [
                "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
                "spec.limits[0].defaultRequest: Forbidden: may not be specified when `type` is 'Pod'",
            ],
        ),
        (
            [{"type": "PersistentVolumeClaim", "max": {"cpu": "1"}}],
            [
                "spec.limits[0].limits: Required value: "
                "either minimum or maximum storage value is required, but neither was provided"
            ],
        ),
        (
            [{"type": "Container", "max": {"storage": "1"}}],
            [
                'spec.limits[0].max[storage]: Invalid value: "storage": must be a standard resource for containers',
            ],
        ),
        (
            [{"type": "PersistentVolumeClaim", "max": {"storage": "1", "gold": "2"}}],
            [
                'spec.limits[0].max[gold]: Invalid value: "gold": '
                "must be a standard resource type or fully qualified",
            ],
        ),
        (
            [{"type": "Pod", "min": {"cpu": "2"}, "max": {"cpu": "1"}}],
            ['spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1'],
        ),
        (
            [
                {
                    "type": "Container",
                    "min": {"cpu": "2"},
                    "default": {"cpu": "1"},
                    "defaultRequest": {"cpu": "1"},
                }
            ],
            [
                'spec.limits[0].defaultRequest[cpu]: Invalid value: "1": '
                "min value 2 is greater than default request value 1",
                'spec.limits[0].default[cpu]: Invalid value: "2": min value 2 is greater than default value 1',
            ],
        ),
        (
            [
                {
                    "type": "Container",
                    "max": {"cpu": "1"},
                    "default": {"cpu": "2"},
                    "defaultRequest": {"cpu": "3"},
                }
            ],
            [
                'spec.limits[0].defaultRequest[cpu]: Invalid value: "3": '
                "default request value 3 is greater than max value 1",
                'spec.limits[0].defaultRequest[cpu]: Invalid value: "3": '
                "default request value 3 is greater than default limit value 2",
                'spec.limits[0].default[cpu]: Invalid value: "1": default value 2 is greater than max value 1',
            ],
        ),
        (
            [{"type": "Pod", "maxLimitRequestRatio": {"cpu": "800m"}}],
            ['spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "800m": ratio 800m is less than 1'],
        ),
        (
            [{"type": "Pod", "min": {"cpu": "1"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "3"}}],
            [
                'spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "3": '
                "ratio 3 is greater than max/min = 2.000000"
            ],
        ),
        (
            [{"type": "Pod", "min": {"cpu": "0"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "3"}}],
            [],
        ),
        (
            [
                {
                    "type": "Container",
                    "default": {"example.com/gpu": "2"},
                    "defaultRequest": {"example.com/gpu": "1"},
                }
            ],
            [
                'spec.limits[0].defaultRequest[example.com/gpu]: Invalid value: "1": '
                "default value 2 must equal to defaultRequest value 1 in example.com/gpu"
            ],
        ),
    ],
)
def test_validation(limits: list[dict[str, Any]], expected: list[str]) -> None:
    assert _errors(*limits) == expected


def test_table_shows_a_time() -> None:
    assert [(column.name, column.type) for column in LIMIT_RANGE.columns] == [
        ("Name", "string"),
        ("Created At", "date"),
    ]
    obj = {"metadata": {"name": "lr", "creationTimestamp": "2026-01-01T00:00:00Z"}}
    assert LIMIT_RANGE.cells(obj, CONTEXT.now) == ["lr", "2026-01-01T00:00:00Z"]
