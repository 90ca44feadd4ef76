"""Requests and limits of containers and pods, claims of devices, resize policies.

Source: validateResourceRequirements, validatePodResources, validateResizePolicy in
pkg/apis/core/validation/validation.go and pkg/apis/core/helper/helpers.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from podbay.apiserver.field import (
    FieldError,
    Path,
    duplicate,
    forbidden,
    invalid,
    not_found,
    not_supported,
    required,
)
from podbay.apiserver.kinds.pod_totals import aggregate_limits, aggregate_requests
from podbay.apiserver.kinds.pod_validation import rules
from podbay.apiserver.kinds.resource_lists import (
    container_resource_name_errors,
    quantity_errors,
    resource_name_errors,
)
from podbay.objects.quantity import Quantity
from podbay.objects.resource_names import is_hugepages, is_overcommit_allowed

__all__ = [
    "container_resources_errors",
    "pod_resources_errors",
    "resize_policy_errors",
    "resource_claims_errors",
]

_HUGE_PAGES = "hugepages-"
_POD_LEVEL = ("cpu", "hugepages-", "memory")
_RESIZABLE = ("cpu", "memory")
_RESIZE_POLICIES = ("NotRequired", "RestartContainer")


def _container_name_errors(path: Path, name: str) -> list[FieldError]:
    return container_resource_name_errors(name, path)


def _pod_name_errors(path: Path, name: str) -> list[FieldError]:
    errors = resource_name_errors(name, path)
    if errors or name in ("cpu", "memory") or is_hugepages(name):
        return errors
    return [not_supported(path, name, _POD_LEVEL)]


def container_resources_errors(
    path: Path, resources: Mapping[str, Any], claim_names: Sequence[str]
) -> list[FieldError]:
    """`resources` of a container (or overhead, as limits)."""
    return _requirements_errors(path, resources, _container_name_errors, claim_names)


def _requirements_errors(
    path: Path,
    resources: Mapping[str, Any],
    name_rule: Callable[[Path, str], list[FieldError]],
    claim_names: Sequence[str],
) -> list[FieldError]:
    limits = {k: Quantity.from_json(v) for k, v in (resources.get("limits") or {}).items()}
    requests = {k: Quantity.from_json(v) for k, v in (resources.get("requests") or {}).items()}
    errors: list[FieldError] = []
    for name, quantity in limits.items():
        at = path.child("limits").key(name)
        errors += name_rule(at, name) + quantity_errors(name, quantity, at)
        errors += _huge_page_errors(at, name, quantity)
    for name, quantity in requests.items():
        at = path.child("requests").key(name)
        errors += name_rule(at, name) + quantity_errors(name, quantity, at)
        errors += _request_limit_errors(path, name, quantity, limits.get(name))
        errors += _huge_page_errors(at, name, quantity)
    used = {*limits, *requests}
    if any(is_hugepages(name) for name in used) and not used & {"cpu", "memory"}:
        errors.append(forbidden(path, "HugePages require cpu or memory"))
    return errors + _claims_used_errors(path.child("claims"), resources.get("claims") or (), claim_names)


def _huge_page_errors(path: Path, name: str, quantity: Quantity) -> list[FieldError]:
    if not is_hugepages(name):
        return []
    try:
        size = Quantity.parse(name.removeprefix(_HUGE_PAGES)).value()
    except ValueError:
        size = 0
    if size > 0 and quantity.value() % size == 0:
        return []
    return [invalid(path, str(quantity), f"{quantity} is not positive integer multiple of {name}")]


def _request_limit_errors(
    path: Path, name: str, request: Quantity, limit: Quantity | None
) -> list[FieldError]:
    if limit is None:
        if is_overcommit_allowed(name):
            return []
        return [required(path.child("limits"), "Limit must be set for non overcommitable resources")]
    at = path.child("requests")
    if request != limit and not is_overcommit_allowed(name):
        return [invalid(at, str(request), f"must be equal to {name} limit of {limit}")]
    if request > limit:
        return [invalid(at, str(request), f"must be less than or equal to {name} limit of {limit}")]
    return []


def _claims_used_errors(
    path: Path, claims: Sequence[Mapping[str, Any]], claim_names: Sequence[str]
) -> list[FieldError]:
    """`resources.claims` of a container: every claim or request of one once, and declared by the pod."""
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, claim in enumerate(claims):
        at = path.index(i)
        name, request = claim.get("name") or "", claim.get("request") or ""
        if not name:
            errors.append(required(at))
            continue
        if name in seen:
            errors.append(duplicate(at, name))
        else:
            key = f"{name}/{request}" if request else name
            if request:
                errors += rules.short_name(at.child("request"), request)
            if key in seen:
                errors.append(duplicate(at, key))
            elif not request:
                errors += [duplicate(at, name) for other in seen if other.startswith(f"{name}/")]
            seen.add(key)
        if name not in claim_names:
            detail = "must be one of the names in pod.spec.resourceClaims"
            detail += f": {', '.join(sorted(set(claim_names)))}" if claim_names else " which is empty"
            missing = not_found(at, name)
            errors.append(FieldError(missing.type, missing.field, missing.value, detail))
    return errors


def resource_claims_errors(path: Path, claims: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    """`spec.resourceClaims`."""
    errors: list[FieldError] = []
    taken: set[str] = set()
    for i, claim in enumerate(claims):
        at = path.index(i)
        name = claim.get("name") or ""
        if not name:
            errors.append(required(at.child("name")))
        elif name in taken:
            errors.append(duplicate(at.child("name"), name))
        else:
            errors += rules.short_name(at.child("name"), name)
            taken.add(name)
        claim_name, template = claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName")
        shown = {"Name": name, "ResourceClaimName": claim_name, "ResourceClaimTemplateName": template}
        if claim_name is not None and template is not None:
            words = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            errors.append(invalid(at, shown, words))
        if claim_name is None and template is None:
            words = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            errors.append(invalid(at, shown, words))
        if claim_name is not None:
            errors += rules.name(at.child("resourceClaimName"), claim_name)
        if template is not None:
            errors += rules.name(at.child("resourceClaimTemplateName"), template)
    return errors


def pod_resources_errors(path: Path, spec: Mapping[str, Any], claim_names: Sequence[str]) -> list[FieldError]:
    """`spec.resources`: the whole pod's share, which its containers must fit in. path is `spec`."""
    resources = spec.get("resources")
    if resources is None:
        return []
    at = path.child("resources")
    if (spec.get("os") or {}).get("name") == "windows":
        return [forbidden(at, "may not be set for a windows pod")]
    errors = []
    if resources.get("claims") is not None:
        errors.append(forbidden(at.child("claims"), "claims may not be set for Resources at pod-level"))
    errors += _requirements_errors(at, resources, _pod_name_errors, claim_names)
    return errors + _consistency_errors(at, spec, resources)


def _consistency_errors(
    path: Path, spec: Mapping[str, Any], resources: Mapping[str, Any]
) -> list[FieldError]:
    errors = []
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    for name, total in aggregate_requests(spec).items():
        if name in requests and total > Quantity.from_json(requests[name]):
            words = f"must be greater than or equal to aggregate container requests of {total}"
            shown = str(Quantity.from_json(requests[name]))
            errors.append(invalid(path.child("requests").key(name), shown, words))
    for name, total in aggregate_limits(spec).items():
        if is_hugepages(name) and name in limits and total > Quantity.from_json(limits[name]):
            words = f"must be greater than or equal to aggregate container limits of {total}"
            shown = str(Quantity.from_json(limits[name]))
            errors.append(invalid(path.child("limits").key(name), shown, words))
    for i, container in enumerate(spec.get("containers") or ()):
        for name, value in ((container.get("resources") or {}).get("limits") or {}).items():
            limit = Quantity.from_json(value)
            if name in limits and limit > Quantity.from_json(limits[name]):
                at = path.child("containers").index(i).key(name).child("limits")
                words = f"must be less than or equal to pod limits of {Quantity.from_json(limits[name])}"
                errors.append(invalid(at, str(limit), words))
    return errors


def resize_policy_errors(
    path: Path, policies: Sequence[Mapping[str, Any]], pod_restart_policy: str
) -> list[FieldError]:
    """`resizePolicy` of a container. All but duplicates carry the list's own path."""
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, policy in enumerate(policies):
        resource, action = policy.get("resourceName") or "", policy.get("restartPolicy") or ""
        if resource in seen:
            errors.append(duplicate(path.index(i), resource))
        seen.add(resource)
        for value, supported in ((resource, _RESIZABLE), (action, _RESIZE_POLICIES)):
            if not value:
                errors.append(required(path))
            elif value not in supported:
                errors.append(not_supported(path, value, supported))
        if pod_restart_policy == "Never" and action != "NotRequired":
            words = "must be 'NotRequired' when pod `restartPolicy` is 'Never'"
            errors.append(invalid(path, action, words))
    return errors
