"""Nobody may grant what they do not hold: the check on writes of roles and bindings.

Runs after decoding, defaulting and mutating admission and before validation, as kube-apiserver wraps it around storage.
Source: kubernetes pkg/registry/rbac/*/policybased/storage.go, escalation_check.go, validation/rule.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from podbay.apiserver import status
from podbay.apiserver.auth.authorize import PRIVILEGED_GROUP, RBAC_GROUP, Authorizer
from podbay.apiserver.auth.rules import FULL_AUTHORITY, PolicyRule, compact, describe, quote_list, uncovered
from podbay.apiserver.field import go_quote
from podbay.apiserver.request import RequestInfo, User
from podbay.objects.meta import Object, name_of, namespace_of
from podbay.objects.resource import GroupResource

__all__ = ["check_escalation"]

_RESOURCES = {
    "Role": "roles",
    "ClusterRole": "clusterroles",
    "RoleBinding": "rolebindings",
    "ClusterRoleBinding": "clusterrolebindings",
}


def check_escalation(user: User, obj: Object, old: Object | None, authorizer: Authorizer) -> None:
    """Raise the 403 when writing obj would give away rights that the user does not hold.

    obj is a Role, ClusterRole or binding with its kind and (when namespaced) namespace set, old the stored
    object of an update. Objects of other kinds pass. Raises 404 when a binding names a role that is missing.
    """
    kind = obj.get("kind") or ""
    resource = _RESOURCES.get(kind)
    if resource is None or PRIVILEGED_GROUP in user.groups:
        return
    if old is not None and _only_garbage_collection_changed(obj, old):
        return
    if kind.endswith("Binding"):
        _check_binding(user, obj, resource, authorizer)
    else:
        _check_role(user, obj, old, resource, authorizer)


def _only_garbage_collection_changed(obj: Object, old: Object) -> bool:
    """The garbage collector holds few rights but must be able to let go of any role."""

    def rest(whole: Object) -> dict[str, Any]:
        metadata = whole.get("metadata") or {}
        ignored = ("finalizers", "ownerReferences", "managedFields", "selfLink")
        kept = {key: value for key, value in metadata.items() if key not in ignored}
        return {**{k: v for k, v in whole.items() if k not in ("kind", "apiVersion")}, "metadata": kept}

    return rest(obj) == rest(old)


def _check_role(user: User, obj: Object, old: Object | None, resource: str, authorizer: Authorizer) -> None:
    name, namespace = name_of(obj), namespace_of(obj)
    # A create has no name in its URL, so only a grant on every role lets it escalate.
    asked = name if old is not None else ""
    if authorizer.authorize(user, _info("escalate", resource, asked, namespace)).allowed:
        return
    _confirm(user, obj, resource, obj.get("rules") or (), authorizer)
    if _has_aggregation(obj) or (old is not None and _has_aggregation(old)):
        owned = authorizer.grants(user, namespace).rules
        if uncovered(owned, FULL_AUTHORITY):
            message = "must have cluster-admin privileges to use the aggregationRule"
            raise status.forbidden(GroupResource(RBAC_GROUP, resource), name, message)


def _has_aggregation(role: Object) -> bool:
    return bool((role.get("aggregationRule") or {}).get("clusterRoleSelectors"))


def _check_binding(user: User, obj: Object, resource: str, authorizer: Authorizer) -> None:
    ref = obj.get("roleRef") or {}
    namespace = namespace_of(obj)
    bound = _RESOURCES.get(ref.get("kind") or "")
    if bound in ("roles", "clusterroles"):
        info = _info("bind", bound, ref.get("name") or "", namespace, ref.get("apiGroup") or "")
        if authorizer.authorize(user, info).allowed:
            return
    _confirm(user, obj, resource, authorizer.role_rules(ref, namespace), authorizer)


def _info(verb: str, resource: str, name: str, namespace: str, group: str = RBAC_GROUP) -> RequestInfo:
    return RequestInfo(
        True, "", verb, group=group, version="*", namespace=namespace, resource=resource, name=name
    )


def _confirm(
    user: User, obj: Object, resource: str, rules: Iterable[PolicyRule], authorizer: Authorizer
) -> None:
    grants = authorizer.grants(user, namespace_of(obj))
    missing = uncovered(grants.rules, rules)
    if not missing:
        return
    shown = "\n".join(sorted({describe(rule) for rule in compact(missing)}))
    message = (
        f"user {go_quote(user.name)} (groups={quote_list(user.groups)}) "
        f"is attempting to grant RBAC permissions not currently held:\n{shown}"
    )
    if grants.errors:
        # Here the roles are read from storage, whose errors name resources in the plural.
        errors = grants.error_text.replace(f"role.{RBAC_GROUP} ", f"roles.{RBAC_GROUP} ")
        message += f"; resolution errors: [{errors}]"
    raise status.forbidden(GroupResource(RBAC_GROUP, resource), name_of(obj), message)
