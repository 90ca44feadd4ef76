"""Roles and bindings: defaults, every rule of validation, columns."""

from __future__ import annotations

import json
from typing import Any

import pytest
from auth_parts import NOW, bind, role, rule
from test_authorize import RECORDED

from podbay.apiserver import status
from podbay.apiserver.kinds.rbac import RESOURCE_TYPES
from podbay.apiserver.registry import StrategyContext
from podbay.apiserver.request import User

TYPES = {t.kind: t for t in RESOURCE_TYPES}
CTX = StrategyContext(now=NOW, user=User("u"))
GROUP = "rbac.authorization.k8s.io"


def _errors(obj: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    strategy = TYPES[obj["kind"]].strategy
    found = strategy.validate(obj, CTX) if old is None else strategy.validate_update(obj, old, CTX)
    return [str(error) for error in found]


ROLES = [
    ([rule("get", "pods")], "x", []),
    ([], "x", []),
    (
        [{"apiGroups": [""], "resources": ["pods"]}],
        "x",
        ["rules[0].verbs: Required value: verbs must contain at least one value"],
    ),
    (
        [rule("get", "pods"), {"verbs": ["get"]}],
        "",
        [
            "rules[1].apiGroups: Required value: resource rules must supply at least one api group",
            "rules[1].resources: Required value: resource rules must supply at least one resource",
        ],
    ),
    ([rule("get", urls="/x")], "", []),
    (
        [rule("get", urls="/x")],
        "x",
        [
            'rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs'
        ],
    ),
    (
        [{**rule("get", "pods"), "nonResourceURLs": ["/x", "/y"]}],
        "",
        [
            'rules[0].nonResourceURLs: Invalid value: ["/x","/y"]: '
            "rules cannot apply to both regular resources and non-resource URLs"
        ],
    ),
    ([rule("get", "pods secrets", names="a")], "x", []),
]


@pytest.mark.parametrize(("rules", "namespace", "errors"), ROLES)
def test_rules_of_a_role(rules: list[dict[str, Any]], namespace: str, errors: list[str]) -> None:
    assert _errors(role("r", rules, namespace)) == errors


@pytest.mark.parametrize(
    ("rule_", "errors"),
    [
        ({"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}, []),
        (
            {},
            [
                "aggregationRule.clusterRoleSelectors: Required value: "
                "at least one clusterRoleSelector required if aggregationRule is non-nil"
            ],
        ),
        (
            {"clusterRoleSelectors": [{"matchExpressions": [{"key": "a", "operator": "Near"}]}]},
            [
                'aggregationRule.clusterRoleSelectors[0].matchExpressions[0].operator: Invalid value: "Near": '
                "not a valid selector operator",
                "aggregationRule.clusterRoleSelectors[0]: Invalid value: null: invalid label selector.",
            ],
        ),
    ],
)
def test_aggregation_rules(rule_: dict[str, Any], errors: list[str]) -> None:
    assert _errors(role("r", [], aggregationRule=rule_)) == errors


BINDINGS = [
    (bind("b", "Role/r", ["User/u", "Group/g", "ServiceAccount/x/s", "ServiceAccount/s"], "x"), []),
    (bind("b", "ClusterRole/r", [], "x"), []),
    (
        bind("b", "Role/r", []),
        ['roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"'],
    ),
    (
        bind("b", "Thing/r", [], "x"),
        ['roleRef.kind: Unsupported value: "Thing": supported values: "Role", "ClusterRole"'],
    ),
    (bind("b", "Role/", [], "x"), ["roleRef.name: Required value"]),
    (bind("b", "Role/a/b", [], "x"), ["roleRef.name: Invalid value: \"a/b\": may not contain '/'"]),
    (
        bind("b", "ClusterRole/r", ["ServiceAccount/s"]),
        ["subjects[0].namespace: Required value"],
    ),
    (
        bind("b", "ClusterRole/r", ["User/", "ServiceAccount/x/"]),
        ["subjects[0].name: Required value", "subjects[1].name: Required value"],
    ),
    (
        bind("b", "ClusterRole/r", ["Robot/r"]),
        ['subjects[0].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group"'],
    ),
]


@pytest.mark.parametrize(("binding", "errors"), BINDINGS)
def test_bindings(binding: dict[str, Any], errors: list[str]) -> None:
    TYPES[binding["kind"]].strategy.set_defaults(binding)
    assert _errors(binding) == errors


def test_foreign_api_groups_and_bad_account_names() -> None:
    binding = bind("b", "ClusterRole/r", ["User/u", "ServiceAccount/x/S"])
    binding["roleRef"]["apiGroup"] = "other"
    binding["subjects"][0]["apiGroup"] = "other"
    binding["subjects"][1]["apiGroup"] = "other"
    shown = _errors(binding)
    assert shown[0] == f'roleRef.apiGroup: Unsupported value: "other": supported values: "{GROUP}"'
    assert shown[1] == f'subjects[0].apiGroup: Unsupported value: "other": supported values: "{GROUP}"'
    assert shown[2].startswith('subjects[1].name: Invalid value: "S": a lowercase RFC 1123 subdomain')
    assert shown[3] == 'subjects[1].apiGroup: Unsupported value: "other": supported values: ""'


def test_defaults_fill_api_groups() -> None:
    binding = bind("b", "Role/r", ["User/u", "Group/g", "ServiceAccount/s"], "x")
    del binding["roleRef"]["apiGroup"]
    TYPES["RoleBinding"].strategy.set_defaults(binding)
    assert binding["roleRef"]["apiGroup"] == GROUP
    assert [s.get("apiGroup") for s in binding["subjects"]] == [GROUP, GROUP, None]


def test_recorded_refusal_of_another_role() -> None:
    stored, patch = RECORDED["rbac-roleref-immutable"]["steps"][1:]
    old = {**stored["body"], "metadata": {"name": "r", "namespace": "x"}}
    new = {**old, "roleRef": {**old["roleRef"], **patch["body"]["roleRef"]}}
    errors = TYPES["RoleBinding"].strategy.validate_update(new, old, CTX)
    answer = json.loads(json.dumps(RECORDED["rbac-roleref-immutable"]["answers"][0]["body"]))
    assert status.invalid(GROUP, "RoleBinding", "r", errors).status() == answer


def test_update_reports_each_cause_as_often_as_the_real_server() -> None:
    bad = role("r", [{"verbs": ["get"], "resources": ["pods"]}], "x")
    assert len(_errors(bad, old=role("r", [], "x"))) == 2


@pytest.mark.parametrize("kind", list(TYPES))
@pytest.mark.parametrize(
    ("name", "good"), [("system:a:B_c", True), ("a/b", False), ("a%b", False), ("..", False)]
)
def test_names_are_path_segments(kind: str, name: str, good: bool) -> None:
    assert (not TYPES[kind].strategy.validate_name(name, prefix=False)) is good


def test_columns() -> None:
    binding = bind("b", "Role/r", ["User/u", "User/v", "Group/g", "ServiceAccount/x/s"], "x")
    binding["metadata"]["creationTimestamp"] = "2026-09-01T11:59:30Z"
    kind = TYPES["RoleBinding"]
    assert kind.cells(binding, NOW) == ["b", "Role/r", "30s", "u, v", "g", "x/s"]
    assert [(c.name, c.priority) for c in kind.columns] == [
        ("Name", 0),
        ("Role", 0),
        ("Age", 0),
        ("Users", 1),
        ("Groups", 1),
        ("ServiceAccounts", 1),
    ]
    made = role("r", [], "x")
    made["metadata"]["creationTimestamp"] = "2026-09-01T11:59:30Z"
    assert TYPES["Role"].cells(made, NOW) == ["r", "2026-09-01T11:59:30Z"]
    assert [(c.name, c.type) for c in TYPES["Role"].columns] == [("Name", "string"), ("Created At", "date")]
