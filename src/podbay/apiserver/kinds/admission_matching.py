"""`matchConstraints` and `matchResources`: which requests an admission policy or its binding is about.

Defaults and validation; matching itself is in admission/policies. Source:
pkg/apis/admissionregistration/{v1/defaults.go,validation/validation.go}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podbay.apiserver.field import FieldError, Path, duplicate, invalid, not_supported, required
from podbay.apiserver.label_selectors import validate_label_selector
from podbay.objects.names import path_segment_name_errors

__all__ = ["default_match_resources", "match_resources_errors"]

_POLICIES = ("Equivalent", "Exact")
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SCOPES = ("*", "Cluster", "Namespaced")


def default_match_resources(match: dict[str, Any] | None) -> None:
    """Fill defaults in place; None stays."""
    if match is None:
        return
    match.setdefault("namespaceSelector", {})
    match.setdefault("objectSelector", {})
    match.setdefault("matchPolicy", "Equivalent")
    for rule in [*(match.get("resourceRules") or ()), *(match.get("excludeResourceRules") or ())]:
        rule.setdefault("scope", "*")


def match_resources_errors(match: Mapping[str, Any] | None, path: Path) -> list[FieldError]:
    if match is None:
        return []
    errors: list[FieldError] = []
    policy = match.get("matchPolicy")
    if policy is None:
        errors.append(required(path.child("matchPolicy")))
    elif policy not in _POLICIES:
        errors.append(not_supported(path.child("matchPolicy"), policy, _POLICIES))
    for name in ("namespaceSelector", "objectSelector"):
        if match.get(name) is None:
            errors.append(required(path.child(name)))
        else:
            errors += validate_label_selector(match[name], path.child(name))
    for name in ("resourceRules", "excludeResourceRules"):
        for i, rule in enumerate(match.get(name) or ()):
            errors += _rule_errors(rule, path.child(name).index(i))
    return errors


def _rule_errors(rule: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, name in enumerate(rule.get("resourceNames") or ()):
        at = path.child("resourceNames").index(i)
        errors += [invalid(at, name, message) for message in path_segment_name_errors(name)]
        if name in seen:
            errors.append(duplicate(at, name))
        seen.add(name)
    errors += _operation_errors(rule.get("operations") or (), path.child("operations"))
    errors += _word_errors(rule.get("apiGroups") or (), path.child("apiGroups"), "API groups")
    versions = rule.get("apiVersions") or ()
    errors += _word_errors(versions, path.child("apiVersions"), "API versions")
    errors += [required(path.child("apiVersions").index(i)) for i, v in enumerate(versions) if v == ""]
    errors += _resource_errors(rule.get("resources") or (), path.child("resources"))
    scope = rule.get("scope")
    if scope is not None and scope not in _SCOPES:
        errors.append(not_supported(path.child("scope"), scope, _SCOPES))
    return errors


def _operation_errors(operations: Sequence[str], path: Path) -> list[FieldError]:
    errors = _word_errors(operations, path, "operations")
    for i, operation in enumerate(operations):
        if operation not in _OPERATIONS:
            errors.append(not_supported(path.index(i), operation, _OPERATIONS))
    return errors


def _word_errors(words: Sequence[str], path: Path, what: str) -> list[FieldError]:
    if not words:
        return [required(path)]
    if len(words) > 1 and "*" in words:
        return [invalid(path, list(words), f"if '*' is present, must not specify other {what}")]
    return []


def _resource_errors(resources: Sequence[str], path: Path) -> list[FieldError]:
    errors: list[FieldError] = [] if resources else [required(path)]
    all_of_resource: set[str] = set()
    of_all_resources: set[str] = set()
    plain = False
    for i, resource in enumerate(resources):
        name, slash, sub = resource.partition("/")
        if not resource:
            errors.append(required(path.index(i)))
        elif not slash:
            plain = resource != "*"
        else:
            if name in all_of_resource:
                words = f"if '{name}/*' is present, must not specify {resource}"
                errors.append(invalid(path.index(i), resource, words))
            if sub in of_all_resources:
                words = f"if '*/{sub}' is present, must not specify {resource}"
                errors.append(invalid(path.index(i), resource, words))
            if sub == "*":
                all_of_resource.add(name)
            if name == "*":
                of_all_resources.add(sub)
    if len(resources) > 1 and "*/*" in resources:
        words = "if '*/*' is present, must not specify other resources"
        errors.append(invalid(path, list(resources), words))
    if "*" in resources and plain:
        words = "if '*' is present, must not specify other resources without subresources"
        errors.append(invalid(path, list(resources), words))
    return errors
