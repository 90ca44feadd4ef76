from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from podbay.apiserver.kinds.resourcequota import RESOURCE_QUOTA
from podbay.apiserver.registry import StrategyContext
from podbay.apiserver.request import User
from podbay.apiserver.tables import column_definitions

CONTEXT = StrategyContext(now=datetime(2026, 1, 1, 0, 5, tzinfo=UTC), user=User("u"), namespace="n")
STRATEGY = RESOURCE_QUOTA.strategy


def _quota(hard: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "q", "resourceVersion": "1"}, "spec": {"hard": hard or {}, **spec}}


def _errors(obj: dict[str, Any]) -> list[str]:
    return [str(error) for error in STRATEGY.validate(obj, CONTEXT)]


def _selector(*requirements: tuple[str, str, list[str] | None]) -> dict[str, Any]:
    fields = ("scopeName", "operator", "values")
    expressions = [
        {field: value for field, value in zip(fields, requirement, strict=True) if value is not None}
        for requirement in requirements
    ]
    return {"scopeSelector": {"matchExpressions": expressions}}


SELECTOR = "spec.scopeSelector.matchExpressions"


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (_quota({"cpu": "1", "count/deployments.apps": "3", "requests.example.com/gpu": "2"}), []),
        (
            _quota({"gold": "1"}),
            [
                'spec.hard[gold]: Invalid value: "gold": must be a standard resource type or fully qualified',
                'spec.hard[gold]: Invalid value: "gold": must be a standard resource for quota',
            ],
        ),
        (
            _quota({"storage": "1"}),
            ['spec.hard[storage]: Invalid value: "storage": must be a standard resource for quota'],
        ),
        (
            _quota({"pods": "-1"}),
            ['spec.hard[pods]: Invalid value: "-1": must be greater than or equal to 0'],
        ),
        (_quota({"pods": "100m"}), ['spec.hard[pods]: Invalid value: "100m": must be an integer']),
        (_quota({"pods": "1"}, scopes=["Idle"]), ['spec.scopes: Invalid value: ["Idle"]: unsupported scope']),
        (
            _quota({"cpu": "1", "secrets": "1"}, scopes=["BestEffort"]),
            ['spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource'] * 2,
        ),
        (
            _quota({"pods": "1"}, scopes=["BestEffort", "NotBestEffort"]),
            ['spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes'],
        ),
        (_quota({"requests.storage": "1"}, **_selector(("VolumeAttributesClass", "In", ["a"]))), []),
        (
            _quota({"pods": "1"}, **_selector(("Idle", "Exists", None))),
            [f'{SELECTOR}.scopeName: Invalid value: "Idle": unsupported scope'],
        ),
        (
            _quota({"pods": "1"}, **_selector(("PriorityClass", "In", None))),
            [
                f"{SELECTOR}.values: Required value: "
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
            ],
        ),
        (
            _quota({"pods": "1"}, **_selector(("PriorityClass", "Exists", ["a"]))),
            [
                f'{SELECTOR}.values: Invalid value: ["a"]: '
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
            ],
        ),
        (
            _quota({"pods": "1"}, **_selector(("PriorityClass", "Near", None))),
            [f'{SELECTOR}.operator: Invalid value: "Near": not a valid selector operator'],
        ),
        (
            _quota({"pods": "1"}, **_selector(("Terminating", "In", ["a"]))),
            [
                f"{SELECTOR}.operator: Invalid value: \"In\": must be 'Exist' only operator when scope is any of "
                "ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, "
                "ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
            ],
        ),
        (
            _quota({"secrets": "1"}, **_selector(("PriorityClass", "In", ["a"]))),
            [
                f'{SELECTOR}: Invalid value: {{"MatchExpressions":[{{"ScopeName":"PriorityClass","Operator":"In",'
                '"Values":["a"]}]}: unsupported scope applied to resource'
            ],
        ),
        (
            _quota(
                {"pods": "1"},
                **_selector(("Terminating", "Exists", None), ("NotTerminating", "Exists", None)),
            ),
            [f"{SELECTOR}: Invalid value: null: conflicting scopes"],
        ),
    ],
)
def test_validation(obj: dict[str, Any], expected: list[str]) -> None:
    assert _errors(obj) == expected


def test_status_belongs_to_the_server() -> None:
    obj = {**_quota({"pods": "1"}), "status": {"used": {"pods": "9"}}}
    STRATEGY.prepare_for_create(obj, CONTEXT)
    assert obj["status"] == {}
    old = {**_quota({"pods": "1"}), "status": {"used": {"pods": "1"}}}
    obj["status"] = {"used": {"pods": "9"}}
    STRATEGY.prepare_for_update(obj, old, CONTEXT)
    assert obj["status"] == old["status"]


def test_scopes_are_immutable() -> None:
    old, new = _quota({"pods": "1"}, scopes=["BestEffort"]), _quota({"pods": "2"}, scopes=["Terminating"])
    errors = [str(error) for error in STRATEGY.validate_update(new, old, CONTEXT)]
    assert errors == ['spec.scopes: Invalid value: ["Terminating"]: field is immutable']
    assert STRATEGY.validate_update(_quota({"pods": "2"}, scopes=["BestEffort"]), old, CONTEXT) == []


def test_writing_status_keeps_the_spec_and_is_validated() -> None:
    subresource = RESOURCE_QUOTA.subresource("status")
    assert subresource is not None
    strategy = subresource.strategy
    assert strategy is not None
    old = _quota({"pods": "1"})
    new = {**_quota({"pods": "5"}), "status": {"used": {"pods": "-2"}}}
    strategy.prepare_for_update(new, old, CONTEXT)
    assert new["spec"] == old["spec"]
    errors = [str(error) for error in strategy.validate_update(new, old, CONTEXT)]
    assert errors == ['status.used[pods]: Invalid value: "-2": must be greater than or equal to 0']


@pytest.mark.parametrize(
    ("hard", "expected"),
    [
        (
            {"requests.cpu": "2", "limits.cpu": "1"},
            ["ResourceQuota requests.cpu (2) should be less than limits.cpu (1)"],
        ),
        (
            {"memory": "2Gi", "limits.memory": "1Gi"},
            ["ResourceQuota memory (2Gi) should be less than limits.memory (1Gi)"],
        ),
        ({"requests.cpu": "1", "limits.cpu": "1"}, []),
        ({"requests.cpu": "1"}, []),
    ],
)
def test_warnings(hard: dict[str, str], expected: list[str]) -> None:
    assert STRATEGY.warnings_on_create(_quota(hard), CONTEXT) == expected


def test_quantities_are_rounded_up_to_thousandths() -> None:
    obj = _quota({"cpu": "100u", "pods": "3"})
    STRATEGY.set_defaults(obj)
    assert obj["spec"]["hard"] == {"cpu": "1m", "pods": "3"}


def test_table_columns_are_as_recorded() -> None:
    cases = json.loads((Path(__file__).parents[1] / "fidelity" / "kubernetes-1.36.json").read_text())
    case = next(case for case in cases if case["id"] == "table-empty-resourcequotas")
    assert column_definitions(RESOURCE_QUOTA) == case["answers"][0]["body"]["columnDefinitions"]


def test_table_cells_keep_limits_apart() -> None:
    status = {
        "hard": {"requests.cpu": "1", "pods": "2", "limits.memory": "1Gi", "limits.cpu": "2"},
        "used": {"requests.cpu": "500m", "pods": "1"},
    }
    metadata = {"name": "q", "creationTimestamp": "2026-01-01T00:00:00Z"}
    assert RESOURCE_QUOTA.cells({"metadata": metadata, "status": status}, CONTEXT.now) == [
        "q",
        "pods: 1/2, requests.cpu: 500m/1",
        "limits.cpu: 0/2, limits.memory: 0/1Gi",
        "5m",
    ]
