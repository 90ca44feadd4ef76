"""RBAC decisions and the words of a refusal, with the recorded answers of a real server."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from auth_parts import ADMIN, Objects, Server, bind, request_info, role, rule

from podbay.apiserver.auth.aggregate import aggregate
from podbay.apiserver.auth.authorize import Authorizer, Decision, forbidden
from podbay.apiserver.auth.bootstrap import bootstrap_objects
from podbay.apiserver.request import ANONYMOUS, RequestInfo, User
from podbay.errors import ApiError

RECORDED = {
    case["id"]: case
    for case in json.loads((Path(__file__).parents[1] / "fidelity" / "kubernetes-1.36.json").read_text())
}
JANE = User("jane", groups=("dev", "system:authenticated"))
ACCOUNT = User(
    "system:serviceaccount:x:default",
    groups=("system:serviceaccounts", "system:serviceaccounts:x", "system:authenticated"),
)


def _may(user: User, method: str, url: str, *objects: dict[str, Any]) -> Decision:
    return Authorizer(Objects(*objects)).authorize(user, request_info(method, url))


MAPS = "/api/v1/namespaces/x/configmaps"
RULES = [
    # (rule, method, url, allowed)
    (rule("get", "pods"), "GET", "/api/v1/namespaces/x/pods/p", True),
    (rule("get", "pods"), "GET", "/api/v1/namespaces/x/pods", False),
    (rule("list", "pods"), "GET", "/api/v1/namespaces/x/pods", True),
    (rule("watch", "pods"), "GET", "/api/v1/namespaces/x/pods?watch=1", True),
    (rule("list", "pods"), "GET", "/api/v1/namespaces/x/pods?watch=1", False),
    (rule("*", "pods"), "DELETE", "/api/v1/namespaces/x/pods", True),
    (rule("delete", "pods"), "DELETE", "/api/v1/namespaces/x/pods", False),
    (rule("deletecollection", "pods"), "DELETE", "/api/v1/namespaces/x/pods", True),
    (rule("*", "*"), "GET", "/api/v1/namespaces/x/pods/p/log", True),
    (rule("get", "pods"), "GET", "/api/v1/namespaces/x/pods/p/log", False),
    (rule("get", "pods/log"), "GET", "/api/v1/namespaces/x/pods/p/log", True),
    (rule("get", "pods/log"), "GET", "/api/v1/namespaces/x/pods/p", False),
    (rule("update", "*/status"), "PUT", "/api/v1/namespaces/x/pods/p/status", True),
    (rule("update", "*/status"), "PUT", "/api/v1/namespaces/x/pods/p", False),
    (rule("update", "pods/*"), "PUT", "/api/v1/namespaces/x/pods/p/status", False),
    (rule("get", "leases", "core"), "GET", "/apis/coordination.k8s.io/v1/namespaces/x/leases/l", False),
    (rule("get", "leases", "*"), "GET", "/apis/coordination.k8s.io/v1/namespaces/x/leases/l", True),
    (rule("get", "configmaps", names="a b"), "GET", "/api/v1/namespaces/x/configmaps/b", True),
    (rule("get", "configmaps", names="a b"), "GET", "/api/v1/namespaces/x/configmaps/c", False),
    (rule("list", "configmaps", names="a"), "GET", "/api/v1/namespaces/x/configmaps", False),
    (rule("list", "configmaps", names="a"), "GET", f"{MAPS}?fieldSelector=metadata.name%3Da", True),
    (rule("list", "configmaps", names="a"), "GET", f"{MAPS}?fieldSelector=metadata.name%3D%3Da", True),
    (rule("list", "configmaps", names="a"), "GET", f"{MAPS}?fieldSelector=x%3D1,metadata.name%3Da", True),
    (rule("list", "configmaps", names="a"), "GET", f"{MAPS}?fieldSelector=metadata.name!%3Da", False),
    (rule("list", "configmaps", names="a"), "GET", f"{MAPS}?fieldSelector=metadata.name%3Db", False),
    (rule("list", "configmaps", names="a"), "GET", f"{MAPS}?fieldSelector=metadata.name%3Da%3Db", False),
    (rule("watch", "configmaps", names="a"), "GET", f"{MAPS}?watch=1&fieldSelector=metadata.name%3Da", True),
    (rule("list", "configmaps", names="a"), "GET", f"{MAPS}?watch=1&fieldSelector=metadata.name%3Da", False),
    (
        rule("deletecollection", "configmaps", names="a"),
        "DELETE",
        f"{MAPS}?fieldSelector=metadata.name%3Da",
        False,
    ),
    (rule("create", "pods/exec"), "POST", "/api/v1/namespaces/x/pods/p/exec", True),
    (rule("get", "namespaces"), "GET", "/api/v1/namespaces/x", True),
    (rule("get", urls="/metrics"), "GET", "/metrics", True),
    (rule("get", urls="/metrics"), "POST", "/metrics", False),
    (rule("get", urls="/metrics"), "GET", "/metrics/slis", False),
    (rule("get", urls="/healthz*"), "GET", "/healthz/etcd", True),
    (rule("get", urls="/healthz/*"), "GET", "/healthz", False),
    (rule("*", urls="*"), "POST", "/anything", True),
    (rule("*", "*", "*"), "GET", "/metrics", False),
    (rule("*", urls="*"), "GET", "/api/v1/nodes", False),
]


@pytest.mark.parametrize(("granted", "method", "url", "allowed"), RULES)
def test_one_rule(granted: dict[str, Any], method: str, url: str, allowed: bool) -> None:
    objects = [role("r", [granted]), bind("b", "ClusterRole/r", ["User/jane"])]
    assert _may(JANE, method, url, *objects).allowed is allowed


@pytest.mark.parametrize(
    ("subject", "user", "allowed"),
    [
        ("User/jane", JANE, True),
        ("User/dev", JANE, False),
        ("Group/dev", JANE, True),
        ("Group/jane", JANE, False),
        ("ServiceAccount/x/default", ACCOUNT, True),
        ("ServiceAccount/default", ACCOUNT, True),
        ("ServiceAccount/y/default", ACCOUNT, False),
        ("User/system:serviceaccount:x:default", ACCOUNT, True),
        ("Group/system:serviceaccounts:x", ACCOUNT, True),
    ],
)
def test_subjects_of_a_binding(subject: str, user: User, allowed: bool) -> None:
    objects = [role("r", [rule("get", "pods")], "x"), bind("b", "Role/r", [subject], "x")]
    assert _may(user, "GET", "/api/v1/namespaces/x/pods/p", *objects).allowed is allowed
    assert not _may(user, "GET", "/api/v1/namespaces/y/pods/p", *objects).allowed


def test_account_subject_without_namespace_matches_nobody_cluster_wide() -> None:
    objects = [role("r", [rule("get", "pods")]), bind("b", "ClusterRole/r", ["ServiceAccount/default"])]
    assert not _may(ACCOUNT, "GET", "/api/v1/namespaces/x/pods/p", *objects).allowed


def test_cluster_role_bound_in_a_namespace_counts_there_only() -> None:
    objects = [role("r", [rule("get list", "pods")]), bind("b", "ClusterRole/r", ["User/jane"], "x")]
    assert _may(JANE, "GET", "/api/v1/namespaces/x/pods", *objects).allowed
    assert not _may(JANE, "GET", "/api/v1/pods", *objects).allowed


def test_reason_names_binding_role_and_subject() -> None:
    url = "/api/v1/namespaces/x/pods/p"
    cluster = [role("r", [rule("get", "pods")]), bind("b", "ClusterRole/r", ["Group/dev"])]
    assert _may(JANE, "GET", url, *cluster).reason == (
        'RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to Group "dev"'
    )
    local = [role("r", [rule("get", "pods")], "x"), bind("b", "Role/r", ["ServiceAccount/default"], "x")]
    assert _may(ACCOUNT, "GET", url, *local).reason == (
        'RBAC: allowed by RoleBinding "b/x" of Role "r" to ServiceAccount "default/x"'
    )


def test_binding_to_a_missing_role_is_the_reason_of_a_refusal() -> None:
    url = "/api/v1/namespaces/x/pods/p"
    one = [bind("b", "ClusterRole/gone", ["User/jane"])]
    assert _may(JANE, "GET", url, *one).reason == (
        'RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found'
    )
    two = [
        *one,
        bind("c", "Role/lost", ["User/jane"], "x"),
        bind("d", "ClusterRole/gone", ["User/jane"], "x"),
    ]
    assert _may(JANE, "GET", url, *two).reason == (
        'RBAC: [clusterrole.rbac.authorization.k8s.io "gone" not found, '
        'role.rbac.authorization.k8s.io "lost" not found]'
    )
    other = [*two, role("r", [rule("get", "pods")]), bind("z", "ClusterRole/r", ["User/jane"])]
    assert _may(JANE, "GET", url, *other).allowed


def test_masters_may_do_anything_without_a_single_role() -> None:
    assert _may(ADMIN, "DELETE", "/api/v1/nodes/n") == Decision(True, "")


def test_changes_of_roles_and_bindings_count_at_once() -> None:
    objects = Objects(bind("b", "ClusterRole/r", ["User/jane"]))
    authorizer = Authorizer(objects)
    info = request_info("GET", "/api/v1/namespaces/x/pods/p")
    assert not authorizer.authorize(JANE, info).allowed
    objects.put(role("r", [rule("get", "pods")]))
    assert authorizer.authorize(JANE, info).allowed
    read = objects.lists
    assert authorizer.authorize(JANE, info).allowed
    assert objects.lists == read
    objects.put(role("r", [rule("list", "pods")]))
    assert not authorizer.authorize(JANE, info).allowed
    objects.put(role("r", [rule("get", "pods")]))
    objects.drop("clusterrolebindings.rbac.authorization.k8s.io", "", "b")
    assert not authorizer.authorize(JANE, info).allowed


def _recorded_refusals() -> list[tuple[User, str, str, dict[str, Any]]]:
    found = []
    for case, user in (("no-token", ANONYMOUS), ("rbac-forbidden", ACCOUNT)):
        steps = [step for step in RECORDED[case]["steps"] if not step.get("silent")]
        for step, answer in zip(steps, RECORDED[case]["answers"], strict=True):
            url = step["path"].replace("{ns}", "x")
            body = json.loads(json.dumps(answer["body"]).replace("<ns>", "x"))
            found.append((user, step["method"], url, body))
    return found


@pytest.mark.parametrize(("user", "method", "url", "body"), _recorded_refusals())
def test_recorded_refusals(user: User, method: str, url: str, body: dict[str, Any]) -> None:
    server = Server(*bootstrap_objects())
    with pytest.raises(ApiError) as caught:
        server.authorizer.require(user, request_info(method, url))
    assert caught.value.status() == body


def test_refusal_of_a_path_that_is_no_resource() -> None:
    error = forbidden(ANONYMOUS, request_info("GET", "/metrics"))
    assert error.message == 'forbidden: User "system:anonymous" cannot get path "/metrics"'
    assert error.details == {}


def test_refusal_cannot_carry_markup() -> None:
    info = RequestInfo(True, "", "get", resource="pods", name="<b>")
    error = forbidden(User("a&<script>"), info, "because <x>")
    assert error.message == (
        'pods "<b>" is forbidden: User "a&amp;&lt;script&gt;" cannot get resource "pods" '
        'in API group "" at the cluster scope: because <x>'
    )


BOOTSTRAP = [
    # (user, method, url, allowed)
    (ANONYMOUS, "GET", "/version", True),
    (ANONYMOUS, "GET", "/readyz", True),
    (ANONYMOUS, "GET", "/api", False),
    (ANONYMOUS, "GET", "/openapi/v2", False),
    (JANE, "GET", "/api/v1", True),
    (JANE, "GET", "/openapi/v3/api/v1", True),
    (JANE, "GET", "/metrics", False),
    (JANE, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", True),
    (JANE, "POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", True),
    (JANE, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", True),
    (JANE, "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", False),
    (JANE, "GET", "/openid/v1/jwks", False),
    (ACCOUNT, "GET", "/openid/v1/jwks", True),
    (ACCOUNT, "GET", "/api/v1/namespaces/x/pods", False),
    (User("p", groups=("system:monitoring",)), "GET", "/metrics", True),
    (User("system:kube-scheduler"), "POST", "/api/v1/namespaces/x/pods/p/binding", True),
    (User("system:kube-scheduler"), "DELETE", "/api/v1/namespaces/x/configmaps/c", False),
    (User("system:kube-controller-manager"), "GET", "/api/v1/secrets", True),
]


@pytest.mark.parametrize(("user", "method", "url", "allowed"), BOOTSTRAP)
def test_default_roles(user: User, method: str, url: str, allowed: bool) -> None:
    assert _may(user, method, url, *bootstrap_objects()).allowed is allowed


@pytest.mark.parametrize(
    ("name", "method", "url", "allowed"),
    [
        ("view", "GET", "/api/v1/namespaces/x/pods/p/log", True),
        ("view", "GET", "/api/v1/namespaces/x/secrets", False),
        ("view", "POST", "/api/v1/namespaces/x/pods", False),
        ("edit", "GET", "/api/v1/namespaces/x/secrets", True),
        ("edit", "POST", "/api/v1/namespaces/x/pods/p/eviction", True),
        ("edit", "POST", "/api/v1/namespaces/x/serviceaccounts/a/token", True),
        ("edit", "POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/x/roles", False),
        ("admin", "GET", "/api/v1/namespaces/x/pods/p/log", True),
        ("admin", "POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/x/roles", True),
        ("admin", "POST", "/api/v1/namespaces/x/resourcequotas", False),
        ("cluster-admin", "POST", "/api/v1/namespaces/x/resourcequotas", True),
    ],
)
def test_user_facing_roles(name: str, method: str, url: str, allowed: bool) -> None:
    objects = [*bootstrap_objects(), bind("jane", f"ClusterRole/{name}", ["User/jane"], "x")]
    assert _may(JANE, method, url, *objects).allowed is allowed


def test_bootstrap_objects_are_independent_copies() -> None:
    bootstrap_objects()[0]["rules"].clear()
    assert bootstrap_objects()[0]["rules"]


def test_aggregation_settles_chains_in_one_call_and_then_rests() -> None:
    def selecting(name: str, label: str, **labels: str) -> dict[str, Any]:
        made = role(name, [])
        made["metadata"]["labels"] = labels
        made["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {label: "yes"}}]}
        return made

    leaf = role("leaf", [rule("get", "pods"), rule("list", "pods")])
    leaf["metadata"]["labels"] = {"low": "yes"}
    roles = [selecting("a-top", "high"), selecting("b-middle", "low", high="yes"), leaf]
    changed = aggregate(roles)
    assert [r["metadata"]["name"] for r in changed] == ["a-top", "b-middle"]
    assert all(r["rules"] == leaf["rules"] for r in changed)
    assert roles[0]["rules"] == []
    assert aggregate([*changed, leaf]) == []


def test_aggregation_drops_what_no_role_gives_any_more() -> None:
    top = role("top", [rule("get", "secrets")])
    top["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}
    assert [r["rules"] for r in aggregate([top])] == [[]]


def test_roles_that_aggregate_each_other_come_to_rest() -> None:
    one, two = role("one", [rule("get", "pods")]), role("two", [])
    for made, label in ((one, "x"), (two, "y")):
        made["metadata"]["labels"] = {"x": "1", "y": "1"}
        made["aggregationRule"] = {
            "clusterRoleSelectors": [{"matchExpressions": [{"key": label, "operator": "Exists"}]}]
        }
    settled = {r["metadata"]["name"]: r for r in aggregate([one, two])}
    assert aggregate([settled.get("one", one), settled.get("two", two)]) == []


def test_decisions_are_cheap() -> None:
    """Aim: 20 µs for an administrator and 60 µs for a service account; ten times that fails on any machine."""
    objects = [*bootstrap_objects(), bind("b", "ClusterRole/edit", ["ServiceAccount/x/default"], "x")]
    authorizer = Authorizer(Objects(*objects))
    info = request_info("GET", "/apis/batch/v1/namespaces/x/nothings/n")
    for user, limit in ((ADMIN, 200e-6), (ACCOUNT, 600e-6)):
        authorizer.authorize(user, info)
        start = time.thread_time()
        for _ in range(500):
            authorizer.authorize(user, info)
        assert (time.thread_time() - start) / 500 < limit
