"""What expressions see of a request: object, oldObject, request, params, namespaceObject, authorizer.

Source: k8s.io/apiserver/pkg/admission/plugin/cel/{condition,activation}.go, pkg/cel/library/authz.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from podbay.apiserver.admission.base import Attributes
from podbay.apiserver.admission.policies.matching import kind_of, namespace_of
from podbay.apiserver.cel.library.authorization import authorizer_value, resource_check
from podbay.apiserver.request import RequestInfo, User
from podbay.objects.meta import Object, metadata_of

__all__ = ["Judge", "access_of", "variables_of"]

_OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}
_NAMESPACE_METADATA = (
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "resourceVersion",
    "finalizers",
)


class Judge(Protocol):
    """Answers whether a user may do something (auth.authorize.Authorizer)."""

    def authorize(self, user: User, info: RequestInfo) -> Any: ...


def variables_of(
    attributes: Attributes, *, params: Object | None, namespace: Object | None
) -> dict[str, Any]:
    """The variables by name. namespace is None for what is in none, and while match conditions are evaluated."""
    return {
        "object": _typed(attributes, attributes.obj),
        "oldObject": _typed(attributes, attributes.old),
        "request": _request(attributes),
        "params": params,
        "namespaceObject": None if namespace is None else _namespace(namespace),
        "authorizer": authorizer_value(),
        "authorizer.requestResource": resource_check(_request_resource(attributes)),
    }


def access_of(question: Mapping[str, str], user: User) -> tuple[User, RequestInfo]:
    """Who is asked about, and for what, in a check of `authorizer`."""
    account = question.get("serviceAccount")
    if account:
        namespace, _, name = account.partition(":")
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        user = User(f"system:serviceaccount:{namespace}:{name}", groups=groups)
    if "path" in question:
        return user, RequestInfo(False, question["path"], question["verb"])
    info = RequestInfo(
        True,
        "",
        question["verb"],
        group=question.get("group") or "",
        version="*",
        namespace=question.get("namespace") or "",
        resource=question.get("resource") or "",
        subresource=question.get("subresource") or "",
        name=question.get("name") or "",
    )
    return user, info


def _typed(attributes: Attributes, obj: Object | None) -> Object | None:
    """The object with the apiVersion and kind that a client would send."""
    if obj is None:
        return None
    group, version, kind = kind_of(attributes)
    return {**obj, "apiVersion": f"{group}/{version}" if group else version, "kind": kind}


def _request_name(attributes: Attributes) -> str:
    """Empty while the server makes the name: expressions must not depend on it."""
    prefix = metadata_of(attributes.obj or {}).get("generateName") if attributes.operation == "CREATE" else ""
    return "" if prefix and attributes.name.startswith(prefix) else attributes.name


def _request_resource(attributes: Attributes) -> dict[str, str]:
    return {
        "group": attributes.resource.gvr.group,
        "resource": attributes.resource.gvr.resource,
        "subresource": attributes.subresource,
        "namespace": namespace_of(attributes),
        "name": _request_name(attributes),
    }


def _request(attributes: Attributes) -> dict[str, Any]:
    gvr, user = attributes.resource.gvr, attributes.user
    group, version, kind = kind_of(attributes)
    kinds = {"group": group, "version": version, "kind": kind}
    resource = {"group": gvr.group, "version": gvr.version, "resource": gvr.resource}
    request: dict[str, Any] = {
        "kind": kinds,
        "resource": resource,
        "requestKind": kinds,
        "requestResource": resource,
        "operation": attributes.operation,
        "userInfo": _user_info(user),
        "dryRun": attributes.dry_run,
    }
    for field, value in (
        ("subResource", attributes.subresource),
        ("requestSubResource", attributes.subresource),
        ("name", _request_name(attributes)),
        ("namespace", namespace_of(attributes)),
    ):
        if value:
            request[field] = value
    if attributes.operation in _OPTIONS:
        options = {"apiVersion": "meta.k8s.io/v1", "kind": _OPTIONS[attributes.operation]}
        request["options"] = {**options, "dryRun": ["All"]} if attributes.dry_run else options
    return request


def _user_info(user: User) -> dict[str, Any]:
    info: dict[str, Any] = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    if user.groups:
        info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info


def _namespace(namespace: Object) -> Object:
    meta = metadata_of(namespace)
    return {
        "metadata": {key: meta[key] for key in _NAMESPACE_METADATA if key in meta},
        "spec": namespace.get("spec") or {},
        "status": namespace.get("status") or {},
    }
