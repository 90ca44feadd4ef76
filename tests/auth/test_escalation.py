"""Nobody grants what they do not hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from auth_parts import ADMIN, Objects, bind, role, rule
from test_authorize import ACCOUNT, JANE, RECORDED

from podbay.apiserver.auth.authorize import Authorizer
from podbay.apiserver.auth.rules import compact, describe, uncovered
from podbay.apiserver.kinds.rbac import check_escalation
from podbay.apiserver.request import User
from podbay.errors import ApiError


def _check(
    user: User, obj: dict[str, Any], *objects: dict[str, Any], old: dict[str, Any] | None = None
) -> str:
    """The refusal's message, or "" when the write may go on."""
    try:
        check_escalation(user, obj, old, Authorizer(Objects(*objects)))
    except ApiError as error:
        return error.message
    return ""


def test_recorded_refusal() -> None:
    *made, step = [
        s
        for s in RECORDED["rbac-escalate"]["steps"]
        if (s.get("body") and "roles" in s["path"]) or "rolebind" in s.get("path", "")
    ]
    stored = [json.loads(json.dumps(s["body"]).replace("{ns}", "x")) for s in made]
    for obj in [*stored, step["body"]]:
        obj["metadata"]["namespace"] = "x"
    with pytest.raises(ApiError) as caught:
        check_escalation(ACCOUNT, step["body"], None, Authorizer(Objects(*stored)))
    expected = json.loads(json.dumps(RECORDED["rbac-escalate"]["answers"][0]["body"]).replace("<ns>", "x"))
    assert caught.value.status() == expected


HOLDS = [
    role("held", [rule("get list", "pods configmaps"), rule("get", urls="/logs/*")]),
    bind("h", "ClusterRole/held", ["User/jane"]),
]
GRANT = 'user "jane" (groups=["dev" "system:authenticated"]) is attempting to grant RBAC permissions not currently held:\n'


def test_what_is_held_may_be_granted() -> None:
    assert (
        _check(JANE, role("r", [rule("get", "pods"), rule("list", "configmaps", names="a")], "x"), *HOLDS)
        == ""
    )
    assert _check(JANE, role("r", [rule("get", urls="/logs/kubelet")]), *HOLDS) == ""
    assert _check(ADMIN, role("r", [rule("*", "*", "*")])) == ""


def test_missing_rights_are_listed_one_rule_a_line_with_verbs_together() -> None:
    wanted = [
        rule("get delete create", "pods secrets"),
        rule("post", urls="/x"),
        rule("get", "services", names="b a"),
    ]
    message = _check(JANE, role("r", wanted), *HOLDS)
    assert message == 'clusterroles.rbac.authorization.k8s.io "r" is forbidden: ' + GRANT + "\n".join(
        [
            '{APIGroups:[""], Resources:["pods"], Verbs:["delete" "create"]}',
            '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "delete" "create"]}',
            '{APIGroups:[""], Resources:["services"], ResourceNames:["a"], Verbs:["get"]}',
            '{APIGroups:[""], Resources:["services"], ResourceNames:["b"], Verbs:["get"]}',
            '{NonResourceURLs:["/x"], Verbs:["post"]}',
        ]
    )


def test_roles_that_cannot_be_found_are_mentioned() -> None:
    message = _check(JANE, role("r", [rule("get", "secrets")]), bind("b", "ClusterRole/gone", ["User/jane"]))
    assert message.endswith('; resolution errors: [clusterroles.rbac.authorization.k8s.io "gone" not found]')


def test_escalate_verb_lifts_the_check() -> None:
    wanted = role("r", [rule("*", "*", "*")])
    every = [
        role("e", [rule("escalate", "clusterroles", "rbac.authorization.k8s.io")]),
        bind("b", "ClusterRole/e", ["User/jane"]),
    ]
    assert _check(JANE, wanted, *every) == ""
    named = [role("e", [rule("escalate", "clusterroles", "rbac.authorization.k8s.io", "r")]), every[1]]
    assert _check(JANE, wanted, *named) != ""
    assert _check(JANE, wanted, *named, old=role("r", [])) == ""


def test_aggregation_rule_takes_full_authority() -> None:
    wanted = role("r", [], aggregationRule={"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]})
    message = _check(JANE, wanted, *HOLDS)
    assert message.endswith('"r" is forbidden: must have cluster-admin privileges to use the aggregationRule')
    assert _check(JANE, role("r", []), *HOLDS, old=wanted) == message
    full = [
        role("full", [rule("*", "*", "*"), rule("*", urls="*")]),
        bind("f", "ClusterRole/full", ["User/jane"]),
    ]
    assert _check(JANE, wanted, *full) == ""


def test_garbage_collection_fields_may_change() -> None:
    old = role("r", [rule("*", "secrets")])
    new = json.loads(json.dumps(old))
    new["metadata"] |= {"finalizers": ["a/b"], "ownerReferences": [{"uid": "1"}], "managedFields": [{}]}
    assert _check(JANE, new, old=old) == ""
    new["metadata"]["labels"] = {"a": "b"}
    assert _check(JANE, new, old=old) != ""


def test_binding_takes_the_rights_of_the_role_or_the_bind_verb() -> None:
    high = role("high", [rule("get", "secrets")])
    wanted = bind("b", "ClusterRole/high", ["User/bob"], "x")
    assert _check(JANE, wanted, high, *HOLDS) == (
        'rolebindings.rbac.authorization.k8s.io "b" is forbidden: '
        + GRANT
        + '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}'
    )
    may_bind = [
        role("m", [rule("bind", "clusterroles", "rbac.authorization.k8s.io", "high")], "x"),
        bind("m", "Role/m", ["User/jane"], "x"),
    ]
    assert _check(JANE, wanted, high, *may_bind) == ""
    assert _check(JANE, bind("b", "ClusterRole/high", ["User/bob"], "y"), high, *may_bind) != ""
    assert _check(JANE, bind("b", "ClusterRole/high", ["User/bob"]), high, *may_bind) != ""
    assert _check(JANE, bind("b", "ClusterRole/held", ["User/bob"]), *HOLDS) == ""


def test_binding_to_a_role_that_is_missing_is_not_found() -> None:
    assert _check(JANE, bind("b", "Role/gone", [], "x")) == 'roles.rbac.authorization.k8s.io "gone" not found'
    message = _check(JANE, bind("b", "ClusterRole/gone", []))
    assert message == 'clusterroles.rbac.authorization.k8s.io "gone" not found'
    assert _check(ADMIN, bind("b", "ClusterRole/gone", [])) == ""


def test_other_kinds_pass() -> None:
    assert _check(JANE, {"kind": "ConfigMap", "metadata": {"name": "c"}}) == ""


@pytest.mark.parametrize(
    ("owned", "wanted", "missing"),
    [
        (rule("*", "*", "*"), rule("get", "pods", "apps"), 0),
        (rule("get", "*"), rule("get", "pods/log"), 0),
        (rule("get", "*/log"), rule("get", "pods/log"), 0),
        (rule("get", "*/log"), rule("get", "pods"), 1),
        (rule("get", "pods"), rule("get", "pods/log"), 1),
        (rule("get", "pods"), rule("*", "pods"), 1),
        (rule("get list", "pods"), rule("get list watch", "pods"), 1),
        (rule("get", "pods", names="a"), rule("get", "pods"), 1),
        (rule("get", "pods", names="a"), rule("get", "pods", names="a b"), 1),
        (rule("get", "pods"), rule("get", "pods", names="a b"), 0),
        (rule("get", urls="*"), rule("get", urls="/a /b"), 0),
        (rule("get", urls="/a*"), rule("get", urls="/a /ab /b"), 1),
        (rule("get", urls="/a"), rule("get", urls="/a*"), 1),
        (rule("*", "*", "*"), rule("get", urls="/a"), 1),
        (rule("*", urls="*"), rule("get", "pods"), 1),
    ],
)
def test_what_one_rule_covers(owned: dict[str, Any], wanted: dict[str, Any], missing: int) -> None:
    assert len(uncovered([owned], [wanted])) == missing


def test_compacting_joins_verbs_of_the_same_resource_only() -> None:
    parts = uncovered([], [rule("get list", "pods secrets"), rule("get", urls="/a")])
    assert [describe(r) for r in compact(parts)] == [
        '{NonResourceURLs:["/a"], Verbs:["get"]}',
        '{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}',
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}',
    ]
