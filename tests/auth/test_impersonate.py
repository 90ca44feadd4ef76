"""Impersonation: whom, by which of the five modes, and in which words it is refused."""

from __future__ import annotations

from typing import Any

import pytest
from auth_parts import ADMIN, Objects, bind, request_info, role, rule
from test_authorize import JANE

from podbay.apiserver.auth.authorize import Authorizer
from podbay.apiserver.auth.impersonate import impersonate
from podbay.apiserver.request import User
from podbay.errors import ApiError

AUTHN = "authentication.k8s.io"
LIST_PODS = request_info("GET", "/api/v1/namespaces/x/pods")
AGENT = User(
    "system:serviceaccount:x:agent",
    groups=("system:serviceaccounts", "system:serviceaccounts:x", "system:authenticated"),
    extra={"authentication.kubernetes.io/node-name": ("n1",)},
)


def _as(user: User, headers: dict[str, str], *rules: dict[str, Any]) -> User:
    subject = f"User/{user.name}"
    objects = Objects(role("r", list(rules)), bind("b", "ClusterRole/r", [subject])) if rules else Objects()
    return impersonate(user, headers, LIST_PODS, Authorizer(objects))


def _refusal(user: User, headers: dict[str, str], *rules: dict[str, Any]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        _as(user, headers, *rules)
    return caught.value


def test_without_headers_the_user_stays() -> None:
    assert _as(JANE, {"impersonate-user": ""}) is JANE


def test_masters_may_be_anybody() -> None:
    assert _as(ADMIN, {"impersonate-user": "bob"}) == User("bob", groups=("system:authenticated",))
    headers = {
        "impersonate-user": "bob",
        "impersonate-uid": "7",
        "impersonate-group": "dev,ops\nsystem:masters",
        "impersonate-extra-acme.com%2fteam": "a\nb",
    }
    assert _as(ADMIN, headers) == User(
        "bob", "7", ("dev,ops", "system:masters", "system:authenticated"), {"acme.com/team": ("a", "b")}
    )


@pytest.mark.parametrize(
    ("headers", "groups"),
    [
        (
            {"impersonate-user": "system:serviceaccount:y:default"},
            ("system:serviceaccounts", "system:serviceaccounts:y", "system:authenticated"),
        ),
        (
            {"impersonate-user": "system:serviceaccount:y:default", "impersonate-group": "g"},
            ("g", "system:authenticated"),
        ),
        ({"impersonate-user": "system:serviceaccount:Y:default"}, ("system:authenticated",)),
        ({"impersonate-user": "system:node:n1"}, ("system:nodes", "system:authenticated")),
        ({"impersonate-user": "system:anonymous"}, ("system:unauthenticated",)),
        (
            {"impersonate-user": "bob", "impersonate-group": "system:unauthenticated"},
            ("system:unauthenticated",),
        ),
        (
            {"impersonate-user": "bob", "impersonate-group": "system:authenticated"},
            ("system:authenticated",),
        ),
    ],
)
def test_groups_of_the_impersonated_user(headers: dict[str, str], groups: tuple[str, ...]) -> None:
    assert _as(ADMIN, headers).groups == groups


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        ({"impersonate-group": "g"}, 'UID:"", Groups:[]string{"g"}, Extra:map[string][]string(nil)'),
        ({"impersonate-uid": "1"}, 'UID:"1", Groups:[]string(nil), Extra:map[string][]string(nil)'),
        (
            {"impersonate-extra-a": "b"},
            'UID:"", Groups:[]string(nil), Extra:map[string][]string{"a":[]string{"b"}}',
        ),
    ],
)
def test_parts_without_a_user_are_a_bad_request(headers: dict[str, str], shown: str) -> None:
    error = _refusal(ADMIN, headers)
    assert error.code == 400
    assert (
        error.message == f'requested &user.DefaultInfo{{Name:"", {shown}}} without impersonating a user name'
    )


def test_refusal_is_that_of_the_first_mode_that_applies() -> None:
    assert _refusal(JANE, {"impersonate-user": "bob"}).message == (
        'pods is forbidden: User "jane" cannot impersonate-on:user-info:list resource "pods" '
        'in API group "" in the namespace "x"'
    )
    on = rule("impersonate-on:user-info:list", "pods")
    assert _refusal(JANE, {"impersonate-user": "bob"}, on).message == (
        'users.authentication.k8s.io "bob" is forbidden: User "jane" cannot impersonate:user-info resource "users" '
        'in API group "authentication.k8s.io" at the cluster scope'
    )


def test_unconstrained_verb_still_works() -> None:
    headers = {"impersonate-user": "bob", "impersonate-group": "dev", "impersonate-uid": "1"}
    whole = [
        rule("impersonate", "users groups"),
        rule("impersonate", "uids userextras/team", AUTHN),
    ]
    assert _as(JANE, headers, *whole).name == "bob"
    assert _as(JANE, {**headers, "impersonate-extra-team": "a"}, *whole).extra == {"team": ("a",)}
    assert _refusal(JANE, headers, rule("impersonate", "users")).code == 403
    assert _refusal(JANE, {**headers, "impersonate-extra-other": "a"}, *whole).code == 403
    named = rule("impersonate", "users", names="bob")
    assert _as(JANE, {"impersonate-user": "bob"}, named).name == "bob"
    assert _refusal(JANE, {"impersonate-user": "eve"}, named).code == 403


def test_unconstrained_account_is_asked_for_in_its_namespace() -> None:
    objects = Objects(
        role("r", [rule("impersonate", "serviceaccounts")], "y"), bind("b", "Role/r", ["User/jane"], "y")
    )
    headers = {"impersonate-user": "system:serviceaccount:y:default"}
    assert impersonate(JANE, headers, LIST_PODS, Authorizer(objects)).name.endswith(":y:default")
    with pytest.raises(ApiError):
        elsewhere = {"impersonate-user": "system:serviceaccount:z:default"}
        impersonate(JANE, elsewhere, LIST_PODS, Authorizer(objects))


MODES = [
    ("user-info", JANE, "bob", rule("impersonate:user-info", "users", AUTHN, "bob")),
    (
        "serviceaccount",
        JANE,
        "system:serviceaccount:y:a",
        rule("impersonate:serviceaccount", "serviceaccounts", AUTHN),
    ),
    ("arbitrary-node", JANE, "system:node:n1", rule("impersonate:arbitrary-node", "nodes", AUTHN, "n1")),
    ("associated-node", AGENT, "system:node:n1", rule("impersonate:associated-node", "nodes", AUTHN)),
]


@pytest.mark.parametrize(("mode", "user", "wanted", "whom"), MODES)
def test_constrained_mode_takes_both_verbs(mode: str, user: User, wanted: str, whom: dict[str, Any]) -> None:
    what = rule(f"impersonate-on:{mode}:list", "pods")
    headers = {"impersonate-user": wanted}
    assert _as(user, headers, what, whom).name == wanted
    assert _refusal(user, headers, what).code == 403
    assert _refusal(user, headers, whom).code == 403
    assert _refusal(user, headers, rule(f"impersonate-on:{mode}:get", "pods"), whom).code == 403


def test_own_node_only() -> None:
    rules = [
        rule("impersonate-on:associated-node:list", "pods"),
        rule("impersonate:associated-node", "nodes", AUTHN),
    ]
    assert _refusal(AGENT, {"impersonate-user": "system:node:n2"}, *rules).code == 403
    assert _refusal(JANE, {"impersonate-user": "system:node:n1"}, *rules).code == 403


USER_INFO = [
    rule("impersonate-on:user-info:list", "pods"),
    rule("impersonate:user-info", "users groups uids userextras/acme.com/a userextras/plain", AUTHN),
]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"impersonate-group": ""}, "impersonating the empty string group is not allowed"),
        ({"impersonate-group": "system:masters"}, "impersonating the system:masters group is not allowed"),
        (
            {"impersonate-extra-plain": "v"},
            'impersonating an invalid key in extra is not allowed: extra.key: Invalid value: "plain": '
            'must be a domain-prefixed path (such as "acme.io/foo")',
        ),
        (
            {"impersonate-extra-acme.com%2fa": ""},
            "impersonating the empty string value in extra is not allowed",
        ),
    ],
)
def test_constrained_mode_refuses_what_would_be_too_much(more: dict[str, str], reason: str) -> None:
    error = _refusal(JANE, {"impersonate-user": "bob", **more}, *USER_INFO)
    assert error.code == 403
    assert error.message.endswith(f": {reason}")


def test_constrained_mode_allows_group_and_extra_that_are_granted() -> None:
    headers = {"impersonate-user": "bob", "impersonate-group": "g", "impersonate-extra-acme.com%2fa": "v"}
    user = _as(JANE, headers, *USER_INFO)
    assert user == User("bob", groups=("g", "system:authenticated"), extra={"acme.com/a": ("v",)})


def test_many_groups_may_be_granted_by_one_star() -> None:
    star = [
        USER_INFO[0],
        rule("impersonate:user-info", "users", AUTHN),
        rule("impersonate:user-info", "groups", AUTHN, "*"),
    ]
    headers = {"impersonate-user": "bob"}
    assert _refusal(JANE, {**headers, "impersonate-group": "a\nb\nc"}, *star).code == 403
    assert len(_as(JANE, {**headers, "impersonate-group": "a\nb\nc\nd"}, *star).groups) == 5
