"""serviceaccounts/token: a TokenRequest is answered with a signed token for the account.

Source: kubernetes pkg/registry/core/serviceaccount/storage/token.go, pkg/apis/authentication/{v1/defaults.go,validation}.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from podbay.apiserver import status
from podbay.apiserver.auth.tokens import ObjectRef, TokenBinding
from podbay.apiserver.field import FieldError, Path, invalid
from podbay.apiserver.registry import StrategyContext, Subresource
from podbay.apiserver.request import RequestInfo
from podbay.objects.meta import Object, name_of, namespace_of, uid_of
from podbay.objects.quoting import go_quote
from podbay.objects.resource import GroupResource

__all__ = ["TOKEN_SUBRESOURCE"]

_GROUP = "authentication.k8s.io"
_KIND = "TokenRequest"
_DEFAULT_SECONDS = 60 * 60
_MIN_SECONDS = 10 * 60
_MAX_SECONDS = 2**32
_INJECTED_SECONDS = 60 * 60 + 7
"""The lifetime that the service account admission asks for; it marks a token of a pod's own volume."""
_EXTENDED_SECONDS = 365 * 24 * 60 * 60
"""How long such a token is really good for, so that clients which never reload it keep working."""


def _create_token(core: Any, info: RequestInfo, ctx: StrategyContext, body: Object | None) -> Object:
    request: Object = body or {}
    name, namespace = info.name, info.namespace
    _check_identity(request, name, namespace)
    account = core.reader.get("serviceaccounts", namespace, name)
    if account is None:
        raise status.not_found(GroupResource("", "serviceaccounts"), name)
    issuer = core.token_issuer
    given = request.get("spec") or {}
    seconds = _DEFAULT_SECONDS if given.get("expirationSeconds") is None else int(given["expirationSeconds"])
    audiences = list(given.get("audiences") or issuer.audiences)
    errors = _lifetime_errors(seconds)
    if errors:
        raise status.invalid(_GROUP, _KIND, "", errors)
    reference = given.get("boundObjectRef")
    binding = TokenBinding(namespace, ObjectRef(name, uid_of(account)))
    if reference is not None:
        binding = _bind(core, binding, reference)
    extended = (
        binding.pod is not None and seconds == _INJECTED_SECONDS and set(audiences) <= set(issuer.audiences)
    )
    token = issuer.issue(
        binding,
        audiences=audiences,
        lifetime_seconds=_EXTENDED_SECONDS if extended else seconds,
        warn_after_seconds=seconds if extended else 0,
    )
    metadata = {**(request.get("metadata") or {}), "name": name, "namespace": namespace}
    metadata["creationTimestamp"] = _rfc3339(ctx.now)
    return {
        "kind": _KIND,
        "apiVersion": f"{_GROUP}/v1",
        "metadata": metadata,
        "spec": {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": reference},
        "status": {"token": token, "expirationTimestamp": _rfc3339(ctx.now + timedelta(seconds=seconds))},
    }


def _rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _check_identity(request: Object, name: str, namespace: str) -> None:
    """Name and namespace in the body must be the URL's when they are there."""
    for field, given, wanted in (
        ("name", name_of(request), name),
        ("namespace", namespace_of(request), namespace),
    ):
        if given and given != wanted:
            detail = f"must match the service account {field} if specified"
            error = invalid(Path("metadata").child(field), given, detail)
            raise status.invalid(_GROUP, _KIND, name, [error])


def _lifetime_errors(seconds: int) -> list[FieldError]:
    path = Path("spec").child("expirationSeconds")
    if seconds < _MIN_SECONDS:
        return [invalid(path, seconds, "may not specify a duration less than 10 minutes")]
    if seconds > _MAX_SECONDS:
        return [invalid(path, seconds, "may not specify a duration larger than 2^32 seconds")]
    return []


def _bind(core: Any, binding: TokenBinding, reference: Mapping[str, Any]) -> TokenBinding:
    """The binding with the object that the request refers to; raises when it is not there or another one."""
    api_version, kind = reference.get("apiVersion") or "", reference.get("kind") or ""
    name, wanted_uid = reference.get("name") or "", reference.get("uid") or ""
    group, _, version = api_version.rpartition("/")
    if group or kind not in ("Pod", "Node", "Secret"):
        raise status.bad_request(f"cannot bind token to object of type {group}/{version}, Kind={kind}")
    key = kind.lower() + "s"
    found = core.reader.get(key, "" if kind == "Node" else binding.namespace, name)
    if found is None:
        raise status.not_found(GroupResource("", key), name)
    if kind == "Pod":
        _check_account(found, binding.service_account.name)
    uid = uid_of(found)
    if wanted_uid and wanted_uid != uid:
        raise status.conflict(
            GroupResource("", kind),
            name,
            f"the UID in the bound object reference ({wanted_uid}) does not match the UID in record. "
            "The object might have been deleted and then recreated",
        )
    ref = ObjectRef(name, uid)
    if kind == "Pod":
        return replace(binding, pod=ref, node=_node_of(core, found))
    return replace(binding, node=ref) if kind == "Node" else replace(binding, secret=ref)


def _check_account(pod: Object, account: str) -> None:
    if ((pod.get("spec") or {}).get("serviceAccountName") or "") != account:
        raise status.bad_request(
            f"cannot bind token for serviceaccount {go_quote(account)} "
            "to pod running with different serviceaccount name."
        )


def _node_of(core: Any, pod: Object) -> ObjectRef | None:
    """The node of a pod, without uid when there is no such node any more."""
    name = (pod.get("spec") or {}).get("nodeName") or ""
    if not name:
        return None
    node = core.reader.get("nodes", "", name)
    return ObjectRef(name, uid_of(node) if node is not None else "")


TOKEN_SUBRESOURCE = Subresource(
    name="token",
    verbs=("create",),
    kind=_KIND,
    group=_GROUP,
    version="v1",
    type_name=f"io.k8s.api.authentication.v1.{_KIND}",
    handler=_create_token,
)
