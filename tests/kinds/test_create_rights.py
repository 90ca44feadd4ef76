"""A PUT or a server-side apply that makes its object needs the right to `create` as well."""

from __future__ import annotations

import json
from typing import Any

import pytest
from whole_server import NAMESPACE, Server

from podbay.apiserver.request import Request, User
from podbay.apiserver.result import ObjectResult
from podbay.errors import ApiError

EVE = User("eve", groups=("system:authenticated",))
RBAC = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}"
CONFIG_MAP = f"/api/v1/namespaces/{NAMESPACE}/configmaps/c"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/l"
NEW_CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "v"}}
NEW_LEASE = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}}


def grant(server: Server, name: str, *verbs: str, names: tuple[str, ...] = ()) -> None:
    rule: dict[str, Any] = {
        "apiGroups": ["", "coordination.k8s.io"],
        "resources": ["configmaps", "leases"],
        "verbs": list(verbs),
    }
    if names:
        rule["resourceNames"] = list(names)
    server.create(f"{RBAC}/roles", {"metadata": {"name": name}, "rules": [rule]})
    group = "rbac.authorization.k8s.io"
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        "subjects": [{"apiGroup": group, "kind": "User", "name": EVE.name}],
    }
    server.create(f"{RBAC}/rolebindings", binding)


def send(server: Server, method: str, path: str, body: Any, **query: str) -> int:
    kind = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
    request = Request(
        method,
        path,
        query={"fieldManager": ["eve"], **{key: [value] for key, value in query.items()}},
        headers={"content-type": kind},
        body=json.dumps(body).encode(),
        user=EVE,
    )
    result = server.dispatcher.handle(request)
    assert isinstance(result, ObjectResult)
    return result.status


WRITES = [("PATCH", CONFIG_MAP, NEW_CONFIG_MAP, "configmaps"), ("PUT", LEASE, NEW_LEASE, "leases")]


@pytest.mark.parametrize(("method", "path", "body", "plural"), WRITES)
@pytest.mark.parametrize("query", [{}, {"dryRun": "All"}])
def test_nothing_is_made_without_the_right_to_create(
    server: Server, method: str, path: str, body: Any, plural: str, query: dict[str, str]
) -> None:
    grant(server, "writer", "update", "patch", "get")
    with pytest.raises(ApiError) as caught:
        send(server, method, path, body, **query)
    assert (caught.value.code, caught.value.reason) == (403, "Forbidden")
    assert caught.value.message.startswith(plural)
    assert "is forbidden" in caught.value.message
    assert server.call("GET", path)[0] == 404


@pytest.mark.parametrize(("method", "path", "body", "plural"), WRITES)
def test_who_may_create_and_change_makes_and_changes(
    server: Server, method: str, path: str, body: Any, plural: str
) -> None:
    grant(server, "writer", "update", "patch")
    name = path.rpartition("/")[2]
    grant(server, f"creator-of-{plural}", "create", names=(name,))
    assert send(server, method, path, body) == 201


@pytest.mark.parametrize(("method", "path", "body", "plural"), WRITES)
def test_what_exists_is_changed_without_it(
    server: Server, method: str, path: str, body: Any, plural: str
) -> None:
    grant(server, "writer", "update", "patch")
    made = server.create(path.rpartition("/")[0], body)
    again = body if method == "PATCH" else made
    assert send(server, method, path, again, **({"force": "true"} if method == "PATCH" else {})) == 200
