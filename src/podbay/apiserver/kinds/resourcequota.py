"""ResourceQuota: what the objects of a namespace may use together.

Source: pkg/registry/core/resourcequota/strategy.go and ValidateResourceQuota* in
pkg/apis/core/validation/validation.go. Enforced by admission/resource_quota.py, counted by podbay.apiserver.quota.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from podbay.apiserver.field import FieldError, Path, invalid, required
from podbay.apiserver.kinds.resource_lists import quantity_errors, resource_name_errors, round_quantities
from podbay.apiserver.quota.lists import ZERO, parse_list
from podbay.apiserver.registry import Column, ResourceType, Strategy, StrategyContext, Subresource
from podbay.apiserver.tables import AGE_COLUMN, NAME_COLUMN, age
from podbay.objects.meta import Object, name_of
from podbay.objects.resource import GVR
from podbay.objects.resource_names import is_standard_quota_resource

__all__ = ["RESOURCE_QUOTA", "RESOURCE_TYPES", "ResourceQuotaStatusStrategy", "ResourceQuotaStrategy"]

_COMPUTE = frozenset(p + r for r in ("cpu", "memory") for p in ("", "requests.", "limits."))
_POD_SCOPE_RESOURCES = _COMPUTE | {"pods"}
_RESOURCES_BY_SCOPE = {
    "Terminating": _POD_SCOPE_RESOURCES,
    "NotTerminating": _POD_SCOPE_RESOURCES,
    "BestEffort": frozenset(["pods"]),
    "NotBestEffort": _POD_SCOPE_RESOURCES,
    "PriorityClass": _POD_SCOPE_RESOURCES,
    "CrossNamespacePodAffinity": _POD_SCOPE_RESOURCES,
    "VolumeAttributesClass": frozenset(["persistentvolumeclaims", "requests.storage"]),
}
_EXISTS_ONLY = ("Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "CrossNamespacePodAffinity")
_EXCLUSIVE = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
_WARNED_RESOURCES = ("cpu", "memory", "storage", "ephemeral-storage")
_MISAPPLIED = "unsupported scope applied to resource"


class ResourceQuotaStrategy(Strategy):
    returns_deleted_object = True

    def set_defaults(self, obj: Object) -> None:
        round_quantities((obj.get("spec") or {}).get("hard"))
        status = obj.get("status") or {}
        round_quantities(status.get("hard"))
        round_quantities(status.get("used"))

    def prepare_for_create(self, obj: Object, ctx: StrategyContext) -> None:
        obj["status"] = {}

    def validate(self, obj: Object, ctx: StrategyContext) -> list[FieldError]:
        return _spec_errors(obj.get("spec") or {})

    def warnings_on_create(self, obj: Object, ctx: StrategyContext) -> list[str]:
        hard = parse_list((obj.get("spec") or {}).get("hard"))
        warnings = []
        for name in _WARNED_RESOURCES:
            request_name, limit_name = f"requests.{name}", f"limits.{name}"
            if request_name not in hard and name in ("cpu", "memory"):
                request_name = name
            request, limit = hard.get(request_name), hard.get(limit_name)
            if request is not None and limit is not None and request > limit:
                warnings.append(
                    f"ResourceQuota {request_name} ({request}) should be less than {limit_name} ({limit})"
                )
        return warnings

    def prepare_for_update(self, obj: Object, old: Object, ctx: StrategyContext) -> None:
        obj["status"] = old.get("status") or {}

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        spec = obj.get("spec") or {}
        errors = _spec_errors(spec)
        scopes, old_scopes = spec.get("scopes"), (old.get("spec") or {}).get("scopes")
        if set(scopes or ()) != set(old_scopes or ()):
            errors.append(invalid(Path("spec").child("scopes"), scopes, "field is immutable"))
        return errors


class ResourceQuotaStatusStrategy(ResourceQuotaStrategy):
    """The `status` subresource: the controller and admission write it, users may."""

    def prepare_for_update(self, obj: Object, old: Object, ctx: StrategyContext) -> None:
        obj["spec"] = old.get("spec") or {}

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        errors = []
        if not (obj.get("metadata") or {}).get("resourceVersion"):
            errors.append(required(Path("resourceVersion")))
        status = obj.get("status") or {}
        for field in ("hard", "used"):
            errors += _list_errors(status.get(field), Path("status").child(field))
        return errors


def _spec_errors(spec: dict[str, Any]) -> list[FieldError]:
    path = Path("spec")
    hard = spec.get("hard") or {}
    errors = _list_errors(hard, path.child("hard"))
    if spec.get("scopes"):
        errors += _scopes_errors(spec["scopes"], sorted(hard), path.child("scopes"))
    if spec.get("scopeSelector") is not None:
        errors += _selector_errors(spec, path.child("scopeSelector", "matchExpressions"))
    return errors


def _list_errors(values: Mapping[str, Any] | None, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    for name, quantity in parse_list(values).items():
        at = path.key(name)
        errors += resource_name_errors(name, at)
        if "/" not in name and not is_standard_quota_resource(name):
            errors.append(invalid(at, name, "must be a standard resource for quota"))
        errors += quantity_errors(name, quantity, at)
    return errors


def _scopes_errors(scopes: list[str], hard: list[str], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    for scope in scopes:
        if scope not in _RESOURCES_BY_SCOPE:
            errors.append(invalid(path, scopes, "unsupported scope"))
        errors += [invalid(path, scopes, _MISAPPLIED) for _ in _misapplied(scope, hard)]
    errors += [invalid(path, scopes, "conflicting scopes") for _ in _conflicts(scopes)]
    return errors


def _selector_errors(spec: dict[str, Any], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    requirements = spec["scopeSelector"].get("matchExpressions") or []
    hard = sorted(spec.get("hard") or {})
    for requirement in requirements:
        scope, operator = requirement.get("scopeName") or "", requirement.get("operator") or ""
        if scope not in _RESOURCES_BY_SCOPE:
            errors.append(invalid(path.child("scopeName"), scope, "unsupported scope"))
        shown = _selector_as_shown(requirements)
        errors += [invalid(path, shown, _MISAPPLIED) for _ in _misapplied(scope, hard)]
        if scope in _EXISTS_ONLY and operator != "Exists":
            errors.append(invalid(path.child("operator"), operator, _exists_only_detail()))
        errors += _operator_errors(operator, requirement.get("values"), path)
    names = [requirement.get("scopeName") or "" for requirement in requirements]
    # Kubernetes shows `scopes` here, which is another field.
    errors += [invalid(path, spec.get("scopes"), "conflicting scopes") for _ in _conflicts(names)]
    return errors


def _operator_errors(operator: str, values: list[str] | None, path: Path) -> list[FieldError]:
    if operator in ("In", "NotIn"):
        if values:
            return []
        detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
        return [required(path.child("values"), detail)]
    if operator in ("Exists", "DoesNotExist"):
        if not values:
            return []
        detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
        return [invalid(path.child("values"), values, detail)]
    return [invalid(path.child("operator"), operator, "not a valid selector operator")]


def _misapplied(scope: str, hard: Iterable[str]) -> list[str]:
    """The hard resources that this scope cannot filter. Names with a prefix are nobody's business here."""
    allowed = _RESOURCES_BY_SCOPE.get(scope)
    if allowed is None:
        return []
    return [name for name in hard if is_standard_quota_resource(name) and name not in allowed]


def _conflicts(scopes: Iterable[str]) -> list[tuple[str, str]]:
    present = set(scopes)
    return [pair for pair in _EXCLUSIVE if present.issuperset(pair)]


def _exists_only_detail() -> str:
    *rest, last = (f"ResourceQuotaScope{scope}" for scope in _EXISTS_ONLY)
    return f"must be 'Exist' only operator when scope is any of {', '.join(rest)} or {last}"


def _selector_as_shown(requirements: list[dict[str, Any]]) -> dict[str, Any]:
    """Kubernetes prints its internal type here, whose fields are named in Go's way."""
    shown = [
        {
            "ScopeName": r.get("scopeName") or "",
            "Operator": r.get("operator") or "",
            "Values": r.get("values"),
        }
        for r in requirements
    ]
    return {"MatchExpressions": shown}


def _cells(quota: Object, now: datetime) -> list[Any]:
    status = quota.get("status") or {}
    hard, used = parse_list(status.get("hard")), parse_list(status.get("used"))
    requests: list[str] = []
    limits: list[str] = []
    for name in sorted(hard):
        column = limits if name.startswith("limits.") else requests
        column.append(f"{name}: {used.get(name, ZERO)}/{hard[name]}")
    return [name_of(quota), ", ".join(requests), ", ".join(limits), age(quota, now)]


RESOURCE_QUOTA = ResourceType(
    gvr=GVR("", "v1", "resourcequotas"),
    kind="ResourceQuota",
    type_name="io.k8s.api.core.v1.ResourceQuota",
    namespaced=True,
    singular="resourcequota",
    short_names=("quota",),
    strategy=ResourceQuotaStrategy(),
    subresources=(
        Subresource(
            name="status",
            verbs=("get", "patch", "update"),
            kind="ResourceQuota",
            type_name="io.k8s.api.core.v1.ResourceQuota",
            strategy=ResourceQuotaStatusStrategy(),
        ),
    ),
    columns=(
        NAME_COLUMN,
        Column(
            "Request",
            "string",
            "Request represents a minimum amount of cpu/memory that a container may consume.",
        ),
        Column(
            "Limit",
            "string",
            "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
        ),
        AGE_COLUMN,
    ),
    cells=_cells,
)

RESOURCE_TYPES = (RESOURCE_QUOTA,)
