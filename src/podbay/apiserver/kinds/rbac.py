"""Roles and bindings: defaults, validation, columns. What they grant is decided in auth/.

Source: kubernetes pkg/apis/rbac/{v1/defaults.go,validation}, pkg/registry/rbac, pkg/printers/internalversion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from podbay.apiserver.auth.authorize import RBAC_GROUP
from podbay.apiserver.auth.escalation import check_escalation
from podbay.apiserver.field import FieldError, Path, invalid, not_supported, required
from podbay.apiserver.label_selectors import validate_label_selector
from podbay.apiserver.registry import Column, ResourceType, Strategy, StrategyContext
from podbay.apiserver.tables import AGE_COLUMN, NAME_COLUMN, age
from podbay.objects.meta import Object, name_of
from podbay.objects.names import dns1123_subdomain_errors, path_segment_name_errors
from podbay.objects.resource import GVR
from podbay.objects.selectors import LabelSelector

__all__ = ["RESOURCE_TYPES", "check_escalation"]


class _RbacStrategy(Strategy):
    """What the four kinds share: any path segment is a name, PUT creates, validation runs twice on update."""

    allow_create_on_update = True
    metadata_repeats = (2, 1)

    def __init__(self, *, namespaced: bool) -> None:
        self._namespaced = namespaced

    def validate_name(self, name: str, *, prefix: bool) -> Sequence[str]:
        return path_segment_name_errors(name)

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        # The real strategies validate the object, then its change, which validates the object again.
        return self.validate(obj, ctx) * 2


class _RoleStrategy(_RbacStrategy):
    def validate(self, obj: Object, ctx: StrategyContext) -> list[FieldError]:
        errors: list[FieldError] = []
        for i, rule in enumerate(obj.get("rules") or ()):
            errors += _rule_errors(rule, Path("rules").index(i), namespaced=self._namespaced)
        if not self._namespaced and obj.get("aggregationRule") is not None:
            errors += _aggregation_errors(obj["aggregationRule"])
        return errors


def _rule_errors(rule: Mapping[str, Any], path: Path, *, namespaced: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    if not rule.get("verbs"):
        errors.append(required(path.child("verbs"), "verbs must contain at least one value"))
    urls = rule.get("nonResourceURLs")
    if urls:
        at = path.child("nonResourceURLs")
        if namespaced:
            errors.append(invalid(at, urls, "namespaced rules cannot apply to non-resource URLs"))
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            detail = "rules cannot apply to both regular resources and non-resource URLs"
            errors.append(invalid(at, urls, detail))
        return errors
    if not rule.get("apiGroups"):
        errors.append(required(path.child("apiGroups"), "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        errors.append(required(path.child("resources"), "resource rules must supply at least one resource"))
    return errors


def _aggregation_errors(rule: Mapping[str, Any]) -> list[FieldError]:
    path = Path("aggregationRule").child("clusterRoleSelectors")
    selectors = rule.get("clusterRoleSelectors") or ()
    if not selectors:
        return [required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil")]
    errors: list[FieldError] = []
    for i, selector in enumerate(selectors):
        errors += validate_label_selector(selector, path.index(i))
        try:
            LabelSelector.from_object(selector)
        except ValueError:
            # The value printed is the selector that could not be made, hence always null.
            errors.append(invalid(path.index(i), None, "invalid label selector."))
    return errors


class _BindingStrategy(_RbacStrategy):
    def set_defaults(self, obj: Object) -> None:
        ref = obj.get("roleRef")
        if isinstance(ref, dict) and not ref.get("apiGroup"):
            ref["apiGroup"] = RBAC_GROUP
        for subject in obj.get("subjects") or ():
            if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
                subject["apiGroup"] = RBAC_GROUP

    def validate(self, obj: Object, ctx: StrategyContext) -> list[FieldError]:
        path, ref = Path("roleRef"), obj.get("roleRef") or {}
        group, kind, name = (ref.get(key) or "" for key in ("apiGroup", "kind", "name"))
        kinds = ("Role", "ClusterRole") if self._namespaced else ("ClusterRole",)
        errors: list[FieldError] = []
        if group != RBAC_GROUP:
            errors.append(not_supported(path.child("apiGroup"), group, [RBAC_GROUP]))
        if kind not in kinds:
            errors.append(not_supported(path.child("kind"), kind, kinds))
        if not name:
            errors.append(required(path.child("name")))
        errors += [invalid(path.child("name"), name, message) for message in path_segment_name_errors(name)]
        for i, subject in enumerate(obj.get("subjects") or ()):
            errors += _subject_errors(subject, Path("subjects").index(i), namespaced=self._namespaced)
        return errors

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        errors = super().validate_update(obj, old, ctx)
        shown = _printed_ref(obj)
        if shown != _printed_ref(old):
            errors.append(invalid(Path("roleRef"), shown, "cannot change roleRef"))
        return errors


def _printed_ref(binding: Object) -> dict[str, str]:
    """A roleRef as messages print it: with the names of the Go fields."""
    ref = binding.get("roleRef") or {}
    fields = (("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name"))
    return {printed: ref.get(key) or "" for printed, key in fields}


def _subject_errors(subject: Mapping[str, Any], path: Path, *, namespaced: bool) -> list[FieldError]:
    kind, name, group = (subject.get(key) or "" for key in ("kind", "name", "apiGroup"))
    errors: list[FieldError] = [] if name else [required(path.child("name"))]
    if kind == "ServiceAccount":
        if name:
            errors += [invalid(path.child("name"), name, text) for text in dns1123_subdomain_errors(name)]
        if group:
            errors.append(not_supported(path.child("apiGroup"), group, [""]))
        if not namespaced and not subject.get("namespace"):
            errors.append(required(path.child("namespace")))
    elif kind in ("User", "Group"):
        if group != RBAC_GROUP:
            errors.append(not_supported(path.child("apiGroup"), group, [RBAC_GROUP]))
    else:
        errors.append(not_supported(path.child("kind"), kind, ["ServiceAccount", "User", "Group"]))
    return errors


_ROLE_COLUMNS = (NAME_COLUMN, Column("Created At", "date", AGE_COLUMN.description))


def _role_cells(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), obj["metadata"].get("creationTimestamp")]


def _binding_columns(word: str, role_description: str) -> tuple[Column, ...]:
    wide = (Column(kind, "string", f"{kind} in the {word}", priority=1) for kind in _SUBJECT_COLUMNS)
    return (NAME_COLUMN, Column("Role", "string", role_description), AGE_COLUMN, *wide)


_SUBJECT_COLUMNS = {"Users": "User", "Groups": "Group", "ServiceAccounts": "ServiceAccount"}


def _binding_cells(obj: Object, now: datetime) -> list[Any]:
    ref, subjects = obj.get("roleRef") or {}, obj.get("subjects") or ()
    named = [
        ", ".join(_subject_name(s) for s in subjects if s.get("kind") == kind)
        for kind in _SUBJECT_COLUMNS.values()
    ]
    return [name_of(obj), f"{ref.get('kind') or ''}/{ref.get('name') or ''}", age(obj, now), *named]


def _subject_name(subject: Mapping[str, Any]) -> str:
    name = str(subject.get("name") or "")
    return f"{subject.get('namespace') or ''}/{name}" if subject.get("kind") == "ServiceAccount" else name


def _resource(
    kind: str, strategy: Strategy, *, namespaced: bool, columns: tuple[Column, ...]
) -> ResourceType:
    return ResourceType(
        gvr=GVR(RBAC_GROUP, "v1", kind.lower() + "s"),
        kind=kind,
        type_name=f"io.k8s.api.rbac.v1.{kind}",
        namespaced=namespaced,
        strategy=strategy,
        singular=kind.lower(),
        columns=columns,
        cells=_binding_cells if kind.endswith("Binding") else _role_cells,
    )


_UNRESOLVED = "If the RoleRef cannot be resolved, the Authorizer must return an error."

RESOURCE_TYPES: tuple[ResourceType, ...] = (
    _resource(
        "ClusterRoleBinding",
        _BindingStrategy(namespaced=False),
        namespaced=False,
        columns=_binding_columns(
            "clusterRoleBinding",
            f"RoleRef can only reference a ClusterRole in the global namespace. {_UNRESOLVED}",
        ),
    ),
    _resource("ClusterRole", _RoleStrategy(namespaced=False), namespaced=False, columns=_ROLE_COLUMNS),
    _resource(
        "RoleBinding",
        _BindingStrategy(namespaced=True),
        namespaced=True,
        columns=_binding_columns(
            "roleBinding",
            "RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. "
            + _UNRESOLVED,
        ),
    ),
    _resource("Role", _RoleStrategy(namespaced=True), namespaced=True, columns=_ROLE_COLUMNS),
)
