"""RBAC: may this user do that. Rules come from the stored roles and bindings, compiled once per change.

The refusal's words are here too (`forbidden`). Not for what a role may contain (kinds/rbac.py) or who may
write roles (escalation.py).
Source: kubernetes plugin/pkg/auth/authorizer/rbac, pkg/registry/rbac/validation/rule.go,
k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from podbay.apiserver import status
from podbay.apiserver.auth.rules import CompiledRule, PolicyRule
from podbay.apiserver.field import go_quote
from podbay.apiserver.request import RequestInfo, User
from podbay.errors import ApiError
from podbay.objects.meta import Object, name_of, namespace_of
from podbay.objects.resource import GroupResource

__all__ = ["RBAC_GROUP", "Authorizer", "Decision", "Grants", "RoleReader", "forbidden"]

RBAC_GROUP = "rbac.authorization.k8s.io"
ROLES = f"roles.{RBAC_GROUP}"
CLUSTER_ROLES = f"clusterroles.{RBAC_GROUP}"
ROLE_BINDINGS = f"rolebindings.{RBAC_GROUP}"
CLUSTER_ROLE_BINDINGS = f"clusterrolebindings.{RBAC_GROUP}"
_COLLECTIONS = (ROLES, CLUSTER_ROLES, ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS)

PRIVILEGED_GROUP = "system:masters"
_MAX_SUBJECTS = 2048
"""Subjects whose rules are kept; a server has tens, so the whole cache is dropped rather than aged."""


class RoleReader(Protocol):
    """Stored RBAC objects. `key` is ResourceType.key."""

    def version(self, key: str) -> int:
        """A number that changes whenever an object of the collection does. Asked on every request: be cheap."""
        ...

    def list(self, key: str, namespace: str | None = None) -> list[Object]: ...


class Decision(NamedTuple):
    """The answer; reason is what an access review reports in `status.reason`."""

    allowed: bool
    reason: str = ""


_ALLOW = Decision(True)


@dataclass(frozen=True, slots=True)
class Grants:
    """All that one subject holds in one namespace. errors name roles that are bound but do not exist."""

    resource: tuple[CompiledRule, ...]
    non_resource: tuple[CompiledRule, ...]
    rules: tuple[PolicyRule, ...]
    errors: tuple[str, ...]

    @property
    def error_text(self) -> str:
        """The errors as one (Go: errors.NewAggregate): repeats dropped, more than one bracketed."""
        distinct = list(dict.fromkeys(self.errors))
        return distinct[0] if len(distinct) == 1 else "[" + ", ".join(distinct) + "]"


@dataclass(frozen=True, slots=True)
class _Binding:
    order: int
    namespace: str
    role_kind: str
    role_name: str
    label: str
    """The binding and its role as printed in reasons, without the subject."""


_Index = dict[str, list[tuple[_Binding, str]]]
"""Subject -> bindings that name it, each with the subject as printed in reasons."""


class Authorizer:
    """Decides requests by RBAC; members of system:masters may do everything.

    Not safe for use from several threads (the server has one).
    """

    def __init__(self, reader: RoleReader) -> None:
        self._reader = reader
        self._versions: list[int] = [-1] * len(_COLLECTIONS)
        self._roles: dict[tuple[str, str], tuple[PolicyRule, ...]] = {}
        self._cluster_roles: dict[str, tuple[PolicyRule, ...]] = {}
        self._bindings: dict[str, _Index] = {}
        self._cluster_bindings: _Index = {}
        self._grants: dict[tuple[str, tuple[str, ...], str], Grants] = {}

    def authorize(self, user: User, info: RequestInfo) -> Decision:
        """May the user make this request; never raises."""
        if PRIVILEGED_GROUP in user.groups:
            return _ALLOW
        grants = self.grants(user, info.namespace)
        for rule in grants.resource if info.is_resource else grants.non_resource:
            if rule.allows(info):
                return Decision(True, f"RBAC: allowed by {rule.source}")
        return Decision(False, f"RBAC: {grants.error_text}" if grants.errors else "")

    def require(self, user: User, info: RequestInfo) -> None:
        """Raise the 403 of kube-apiserver unless the request is allowed."""
        decision = self.authorize(user, info)
        if not decision.allowed:
            raise forbidden(user, info, decision.reason)

    def grants(self, user: User, namespace: str) -> Grants:
        """Every rule the user holds in the namespace ("" for cluster-wide ones only)."""
        self._refresh()
        key = (user.name, user.groups, namespace)
        grants = self._grants.get(key)
        if grants is None:
            if len(self._grants) >= _MAX_SUBJECTS:
                self._grants.clear()
            grants = self._grants[key] = self._collect(user, namespace)
        return grants

    def role_rules(self, role_ref: Mapping[str, Any], namespace: str) -> tuple[PolicyRule, ...]:
        """The rules behind a roleRef; raises the 404 that storage gives when the role does not exist."""
        self._refresh()
        kind, name = role_ref.get("kind") or "", role_ref.get("name") or ""
        rules = self._lookup(kind, name, namespace)
        if rules is None:
            resource = "roles" if kind == "Role" else "clusterroles"
            raise status.not_found(GroupResource(RBAC_GROUP, resource), name)
        return rules

    def _lookup(self, kind: str, name: str, namespace: str) -> tuple[PolicyRule, ...] | None:
        if kind == "Role":
            return self._roles.get((namespace, name))
        return self._cluster_roles.get(name) if kind == "ClusterRole" else None

    def _collect(self, user: User, namespace: str) -> Grants:
        subjects = [f"User/{user.name}", *(f"Group/{group}" for group in user.groups)]
        found = _bindings_of(self._cluster_bindings, subjects)
        if namespace:
            found += _bindings_of(self._bindings.get(namespace, {}), subjects)
        compiled: list[CompiledRule] = []
        rules: list[PolicyRule] = []
        errors: list[str] = []
        for binding, subject in found:
            granted = self._lookup(binding.role_kind, binding.role_name, binding.namespace)
            if granted is None:
                errors.append(_missing_role(binding))
                continue
            rules += granted
            compiled += [CompiledRule.of(rule, f"{binding.label} to {subject}") for rule in granted]
        return Grants(
            tuple(rule for rule in compiled if rule.resources),
            tuple(rule for rule in compiled if rule.urls),
            tuple(rules),
            tuple(errors),
        )

    def _refresh(self) -> None:
        version = self._reader.version
        current = [version(key) for key in _COLLECTIONS]
        if current == self._versions:
            return
        for index, key in enumerate(_COLLECTIONS):
            if current[index] != self._versions[index]:
                self._load(key)
        self._versions = current
        self._grants.clear()

    def _load(self, key: str) -> None:
        objects = self._reader.list(key)
        if key == ROLES:
            self._roles = {(namespace_of(o), name_of(o)): _rules(o) for o in objects}
        elif key == CLUSTER_ROLES:
            self._cluster_roles = {name_of(o): _rules(o) for o in objects}
        elif key == CLUSTER_ROLE_BINDINGS:
            self._cluster_bindings = _index(objects, "ClusterRoleBinding")
        else:
            by_namespace: dict[str, list[Object]] = {}
            for obj in objects:
                by_namespace.setdefault(namespace_of(obj), []).append(obj)
            self._bindings = {ns: _index(found, "RoleBinding") for ns, found in by_namespace.items()}


def _rules(role: Object) -> tuple[PolicyRule, ...]:
    return tuple(role.get("rules") or ())


def _index(bindings: Iterable[Object], kind: str) -> _Index:
    index: _Index = {}
    for order, obj in enumerate(sorted(bindings, key=name_of)):
        namespace, name = namespace_of(obj), name_of(obj)
        ref = obj.get("roleRef") or {}
        role_kind, role_name = ref.get("kind") or "", ref.get("name") or ""
        shown = f"{name}/{namespace}" if namespace else name
        label = f"{kind} {go_quote(shown)} of {role_kind} {go_quote(role_name)}"
        binding = _Binding(order, namespace, role_kind, role_name, label)
        for subject in obj.get("subjects") or ():
            key, printed = _subject(subject, namespace)
            if key:
                index.setdefault(key, []).append((binding, printed))
    return index


def _subject(subject: Mapping[str, Any], namespace: str) -> tuple[str, str]:
    """(index key, printed form); an empty key for a subject that can match nobody."""
    kind, name = subject.get("kind") or "", subject.get("name") or ""
    if kind in ("User", "Group"):
        return f"{kind}/{name}", f"{kind} {go_quote(name)}"
    if kind == "ServiceAccount":
        home = subject.get("namespace") or namespace
        if home:
            return f"User/system:serviceaccount:{home}:{name}", f"{kind} {go_quote(f'{name}/{home}')}"
    return "", ""


def _bindings_of(index: _Index, subjects: Iterable[str]) -> list[tuple[_Binding, str]]:
    """Bindings that name any of the subjects, once each, in order of their names."""
    found: dict[int, tuple[_Binding, str]] = {}
    for subject in subjects:
        for binding, printed in index.get(subject, ()):
            found.setdefault(binding.order, (binding, printed))
    return [found[order] for order in sorted(found)]


def _missing_role(binding: _Binding) -> str:
    if binding.role_kind not in ("Role", "ClusterRole"):
        return f"unsupported role reference kind: {go_quote(binding.role_kind)}"
    # Listers name the resource in the singular here, unlike every answer of storage.
    return f"{binding.role_kind.lower()}.{RBAC_GROUP} {go_quote(binding.role_name)} not found"


def forbidden(user: User, info: RequestInfo, reason: str = "") -> ApiError:
    """The 403 for a request that was refused; reason is appended as the server does."""
    message = _forbidden_message(user, info)
    # The server keeps its sentence from looking like HTML, but not the reason behind it.
    message = message.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if reason:
        message = f"{message}: {reason}"
    if not info.is_resource:
        return status.forbidden(None, "", message)
    return status.forbidden(GroupResource(info.group, info.resource), info.ruled_name, message)


def _forbidden_message(user: User, info: RequestInfo) -> str:
    subject = f"User {go_quote(user.name)} cannot {info.verb}"
    if not info.is_resource:
        return f"{subject} path {go_quote(info.path)}"
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    what = f"{subject} resource {go_quote(resource)} in API group {go_quote(info.group)}"
    if info.namespace:
        return f"{what} in the namespace {go_quote(info.namespace)}"
    return f"{what} at the cluster scope"
