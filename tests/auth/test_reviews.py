"""Access reviews, identity reviews and token requests, asked as the server asks them."""

from __future__ import annotations

from typing import Any

import pytest
from auth_parts import ADMIN, Server, account, bind, role, rule, thing
from test_authorize import ACCOUNT, JANE

from podbay.apiserver.auth.bootstrap import bootstrap_objects
from podbay.apiserver.auth.tokens import ISSUER
from podbay.apiserver.kinds.reviews import RESOURCE_TYPES
from podbay.apiserver.kinds.serviceaccount_token import TOKEN_SUBRESOURCE
from podbay.apiserver.request import RequestInfo, User
from podbay.errors import ApiError

TYPES = {t.kind: t for t in RESOURCE_TYPES}
READER = [
    role("r", [rule("get list", "pods"), rule("get", urls="/logs")]),
    bind("b", "ClusterRole/r", ["User/jane", "Group/dev"]),
]


def _ask(
    kind: str, body: dict[str, Any], *, user: User = ADMIN, server: Server | None = None
) -> dict[str, Any]:
    handler = TYPES[kind].handler
    assert handler is not None
    server = server or Server(*READER)
    review = {"kind": kind, "apiVersion": TYPES[kind].gvr.api_version, "metadata": {}, **body}
    info = RequestInfo(True, "", "create", resource=TYPES[kind].gvr.resource)
    answer = handler(server, info, server.context(user), review)
    assert (answer["kind"], answer["apiVersion"]) == (kind, TYPES[kind].gvr.api_version)
    return answer


def _refusal(kind: str, body: dict[str, Any]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        _ask(kind, body)
    return caught.value


PODS = {"verb": "get", "resource": "pods", "namespace": "x"}
REASON = 'RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to '


@pytest.mark.parametrize(
    ("spec", "answer"),
    [
        ({"user": "jane", "resourceAttributes": PODS}, {"allowed": True, "reason": REASON + 'User "jane"'}),
        (
            {"groups": ["dev"], "resourceAttributes": PODS},
            {"allowed": True, "reason": REASON + 'Group "dev"'},
        ),
        ({"user": "bob", "resourceAttributes": PODS}, {"allowed": False}),
        ({"user": "jane", "resourceAttributes": {**PODS, "subresource": "log"}}, {"allowed": False}),
        ({"user": "jane", "resourceAttributes": {**PODS, "group": "apps"}}, {"allowed": False}),
        (
            {"user": "jane", "nonResourceAttributes": {"path": "/logs", "verb": "get"}},
            {"allowed": True, "reason": REASON + 'User "jane"'},
        ),
        ({"user": "root", "groups": ["system:masters"], "resourceAttributes": PODS}, {"allowed": True}),
    ],
)
def test_subject_access_review(spec: dict[str, Any], answer: dict[str, Any]) -> None:
    review = _ask("SubjectAccessReview", {"spec": spec})
    assert review["status"] == answer
    assert review["spec"] == spec


def test_self_review_asks_about_the_client() -> None:
    spec = {"resourceAttributes": PODS}
    assert _ask("SelfSubjectAccessReview", {"spec": spec}, user=JANE)["status"]["allowed"]
    assert _ask("SelfSubjectAccessReview", {"spec": spec}, user=ACCOUNT)["status"] == {"allowed": False}


SPEC_ERRORS = [
    (
        {"user": "u"},
        [
            "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
        ],
    ),
    (
        {"user": "u", "resourceAttributes": PODS, "nonResourceAttributes": {"path": "/a"}},
        [
            'spec.nonResourceAttributes: Invalid value: {"Path":"/a","Verb":""}: cannot be specified in combination with resourceAttributes'
        ],
    ),
    (
        {"resourceAttributes": PODS},
        ['spec.user: Invalid value: "": at least one of user or group must be specified'],
    ),
    (
        {"user": "u", "resourceAttributes": {**PODS, "labelSelector": {}}},
        [
            "spec.resourceAttributes.labelSelector.requirements: Required value: when "
            "spec.resourceAttributes.labelSelector is specified, requirements or rawSelector is required"
        ],
    ),
    (
        {
            "user": "u",
            "resourceAttributes": {
                **PODS,
                "fieldSelector": {"rawSelector": "a=b", "requirements": [{"operator": "In"}]},
            },
        },
        [
            'spec.resourceAttributes.fieldSelector.rawSelector: Invalid value: "a=b": may not specified at the same time as requirements',
            "spec.resourceAttributes.fieldSelector.requirements[0].values: Required value: "
            "must be specified when `operator` is 'In' or 'NotIn'",
            "spec.resourceAttributes.fieldSelector.requirements[0].key: Required value: must be specified",
        ],
    ),
    (
        {
            "user": "u",
            "resourceAttributes": {
                **PODS,
                "labelSelector": {"requirements": [{"key": "a", "operator": "Exists", "values": ["b"]}]},
            },
        },
        [
            "spec.resourceAttributes.labelSelector.requirements[0].values: Forbidden: "
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        ],
    ),
]


@pytest.mark.parametrize(("spec", "errors"), SPEC_ERRORS)
def test_subject_access_review_refuses(spec: dict[str, Any], errors: list[str]) -> None:
    error = _refusal("SubjectAccessReview", {"spec": spec})
    assert error.code == 422
    assert [f"{c['field']}: {c['message']}" for c in error.causes] == errors


def test_refusal_has_no_kind_as_with_the_real_server() -> None:
    message = _refusal(
        "SelfSubjectAccessReview", {"metadata": {"name": "a"}, "spec": {"resourceAttributes": PODS}}
    ).message
    assert (
        message == '.authorization.k8s.io "" is invalid: metadata: Invalid value: {"name":"a"}: must be empty'
    )


def test_unknown_operators_pass_and_unreadable_selectors_are_reported() -> None:
    later = {**PODS, "labelSelector": {"requirements": [{"key": "a", "operator": "Near"}]}}
    assert _ask("SubjectAccessReview", {"spec": {"user": "jane", "resourceAttributes": later}})["status"][
        "allowed"
    ]
    bad = {**PODS, "labelSelector": {"rawSelector": "a b"}, "fieldSelector": {"rawSelector": "a"}}
    answer = _ask("SubjectAccessReview", {"spec": {"user": "jane", "resourceAttributes": bad}})["status"]
    assert answer["evaluationError"] == (
        "spec.resourceAttributes.fieldSelector ignored due to parse error; "
        "spec.resourceAttributes.labelSelector ignored due to parse error"
    )


def test_local_review_stays_in_its_namespace() -> None:
    body = {"metadata": {"namespace": "x"}, "spec": {"user": "jane", "resourceAttributes": PODS}}
    assert _ask("LocalSubjectAccessReview", body)["status"]["allowed"]
    other = {**body, "spec": {"user": "jane", "resourceAttributes": {**PODS, "namespace": "y"}}}
    assert _refusal("LocalSubjectAccessReview", other).causes[0]["message"] == (
        'Invalid value: "y": must match metadata.namespace'
    )
    urls = {**body, "spec": {"user": "jane", "nonResourceAttributes": {"path": "/logs", "verb": "get"}}}
    assert _refusal("LocalSubjectAccessReview", urls).causes[0]["message"] == (
        'Invalid value: {"Path":"/logs","Verb":"get"}: disallowed on this kind of request'
    )


def test_rules_review_lists_what_the_client_holds() -> None:
    server = Server(*READER, bind("lost", "ClusterRole/gone", ["User/jane"]))
    answer = _ask("SelfSubjectRulesReview", {"spec": {"namespace": "x"}}, user=JANE, server=server)
    assert answer["status"] == {
        "resourceRules": [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/logs"]}],
        "incomplete": False,
        "evaluationError": 'clusterrole.rbac.authorization.k8s.io "gone" not found',
    }
    assert answer["spec"] == {}


def test_rules_review_of_the_administrator_shows_everything() -> None:
    answer = _ask("SelfSubjectRulesReview", {"spec": {"namespace": "x"}}, server=Server(*bootstrap_objects()))
    assert {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]} in answer["status"]["resourceRules"]


def test_rules_review_needs_a_namespace() -> None:
    error = _refusal("SelfSubjectRulesReview", {"spec": {}})
    assert (error.code, error.message) == (400, "no namespace on request")


def test_self_review_says_who_the_client_is() -> None:
    user = User("jane", "7", ("dev",), {"a": ("b",)})
    answer = _ask("SelfSubjectReview", {}, user=user)
    assert answer["metadata"] == {"creationTimestamp": "2026-09-01T12:00:00Z"}
    assert answer["status"] == {
        "userInfo": {"username": "jane", "uid": "7", "groups": ["dev"], "extra": {"a": ["b"]}}
    }
    assert _ask("SelfSubjectReview", {}, user=User("x"))["status"] == {"userInfo": {"username": "x"}}


def test_token_review() -> None:
    server = Server(account())
    token = _request(server, {})["status"]["token"]
    good = _ask("TokenReview", {"spec": {"token": token}}, server=server)["status"]
    assert good["authenticated"] is True
    assert good["audiences"] == [ISSUER]
    assert good["user"]["username"] == "system:serviceaccount:x:default"
    assert _ask("TokenReview", {"spec": {"token": "x"}}, server=server)["status"] == {
        "user": {},
        "error": "invalid bearer token",
    }
    foreign = _ask("TokenReview", {"spec": {"token": token, "audiences": ["vault"]}}, server=server)["status"]
    assert foreign["error"] == (
        f'[invalid bearer token, token audiences ["{ISSUER}"] is invalid for the target audiences ["vault"]]'
    )
    static = {"token": "admin-token-1", "audiences": ["vault"]}
    assert _ask("TokenReview", {"spec": static}, server=server)["status"]["error"] == "invalid bearer token"
    error = _refusal("TokenReview", {"spec": {"token": ""}})
    assert (error.code, error.message) == (400, "token is required for TokenReview in authentication")


def _request(
    server: Server, spec: dict[str, Any], *, name: str = "default", **metadata: str
) -> dict[str, Any]:
    handler = TOKEN_SUBRESOURCE.handler
    assert handler is not None
    info = RequestInfo(
        True, "", "create", namespace="x", resource="serviceaccounts", subresource="token", name=name
    )
    body = {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": metadata,
        "spec": spec,
    }
    return handler(server, info, server.context(), body)


def test_token_request_is_answered_with_its_defaults() -> None:
    server = Server(account())
    answer = _request(server, {})
    token = answer["status"].pop("token")
    assert answer == {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": "default", "namespace": "x", "creationTimestamp": "2026-09-01T12:00:00Z"},
        "spec": {"audiences": [ISSUER], "expirationSeconds": 3600, "boundObjectRef": None},
        "status": {"expirationTimestamp": "2026-09-01T13:00:00Z"},
    }
    assert server.tokens.check(token).user is not None
    server.clock.forward(3661)
    assert server.tokens.check(token).user is None


REQUEST_ERRORS = [
    (
        {"expirationSeconds": 599},
        422,
        'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 599: '
        "may not specify a duration less than 10 minutes",
    ),
    (
        {"expirationSeconds": 2**32 + 1},
        422,
        'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 4294967297: '
        "may not specify a duration larger than 2^32 seconds",
    ),
    ({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "no"}}, 404, 'pods "no" not found'),
    ({"boundObjectRef": {"kind": "Secret", "apiVersion": "v1", "name": "no"}}, 404, 'secrets "no" not found'),
    ({"boundObjectRef": {"kind": "Node", "apiVersion": "v1", "name": "no"}}, 404, 'nodes "no" not found'),
    (
        {"boundObjectRef": {"kind": "Deployment", "apiVersion": "apps/v1", "name": "d"}},
        400,
        "cannot bind token to object of type apps/v1, Kind=Deployment",
    ),
    (
        {"boundObjectRef": {"kind": "ConfigMap", "apiVersion": "v1", "name": "d"}},
        400,
        "cannot bind token to object of type /v1, Kind=ConfigMap",
    ),
    (
        {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "q"}},
        400,
        'cannot bind token for serviceaccount "default" to pod running with different serviceaccount name.',
    ),
    (
        {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "old"}},
        409,
        'Operation cannot be fulfilled on Pod "p": the UID in the bound object reference (old) does not match '
        "the UID in record. The object might have been deleted and then recreated",
    ),
]


def _with_pods() -> Server:
    return Server(
        account(),
        {**thing("Pod", "p", "pod-1", "x"), "spec": {"serviceAccountName": "default", "nodeName": "n"}},
        {**thing("Pod", "q", "pod-2", "x"), "spec": {"serviceAccountName": "other"}},
        thing("Node", "n", "node-1"),
        thing("Secret", "s", "secret-1", "x"),
    )


@pytest.mark.parametrize(("spec", "code", "message"), REQUEST_ERRORS)
def test_token_request_refuses(spec: dict[str, Any], code: int, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        _request(_with_pods(), spec)
    assert (caught.value.code, caught.value.message) == (code, message)


@pytest.mark.parametrize(
    ("metadata", "field", "value"),
    [({"name": "other"}, "name", "other"), ({"namespace": "y"}, "namespace", "y")],
)
def test_token_request_for_another_account_is_refused(
    metadata: dict[str, str], field: str, value: str
) -> None:
    server = Server(account())
    handler = TOKEN_SUBRESOURCE.handler
    assert handler is not None
    info = RequestInfo(True, "", "create", namespace="x", name="default")
    with pytest.raises(ApiError) as caught:
        handler(server, info, server.context(), {"metadata": metadata, "spec": {}})
    assert caught.value.message == (
        f'TokenRequest.authentication.k8s.io "default" is invalid: metadata.{field}: Invalid value: "{value}": '
        f"must match the service account {field} if specified"
    )


def test_token_request_for_a_missing_account() -> None:
    with pytest.raises(ApiError) as caught:
        _request(Server(), {})
    assert caught.value.message == 'serviceaccounts "default" not found'


@pytest.mark.parametrize(
    ("kind", "name", "extra"),
    [
        ("Pod", "p", {"pod-name": "p", "pod-uid": "pod-1", "node-name": "n", "node-uid": "node-1"}),
        ("Node", "n", {"node-name": "n", "node-uid": "node-1"}),
        ("Secret", "s", {}),
    ],
)
def test_bound_token_carries_its_object(kind: str, name: str, extra: dict[str, str]) -> None:
    server = _with_pods()
    reference = {"kind": kind, "apiVersion": "v1", "name": name}
    answer = _request(
        server, {"boundObjectRef": reference, "audiences": ["a", ISSUER], "expirationSeconds": 600}
    )
    assert answer["spec"]["boundObjectRef"] == reference
    user = server.tokens.check(answer["status"]["token"]).user
    assert user is not None
    found = {key.removeprefix("authentication.kubernetes.io/"): value[0] for key, value in user.extra.items()}
    assert found.pop("credential-id")
    assert found == extra
    server.reader.drop(kind.lower() + "s", "" if kind == "Node" else "x", name)
    assert server.tokens.check(answer["status"]["token"]).user is None


def test_token_of_a_pods_own_volume_lives_a_year_for_old_clients() -> None:
    server = _with_pods()
    spec = {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}, "expirationSeconds": 3607}
    answer = _request(server, spec)
    assert answer["status"]["expirationTimestamp"] == "2026-09-01T13:00:07Z"
    server.clock.forward(364 * 24 * 3600)
    assert server.tokens.check(answer["status"]["token"]).user is not None
    vault = _request(server, {**spec, "audiences": ["vault"]})["status"]["token"]
    server.clock.forward(3607 + 61)
    assert server.tokens.check(vault, ["vault"]).user is None
