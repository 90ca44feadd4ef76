"""Where a pod may run: tolerations, scheduling gates, spreading over topologies.

Source: ValidateTolerations, validateSchedulingGates, validateTopologySpreadConstraints in
pkg/apis/core/validation/validation.go. Affinity is in affinity.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podbay.apiserver.field import FieldError, Path, duplicate, forbidden, invalid, not_supported, required
from podbay.apiserver.kinds.pod_validation import rules
from podbay.objects import names

__all__ = ["gates_errors", "match_label_keys_errors", "tolerations_errors", "topology_errors"]

_TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_OPERATORS = ("Equal", "Exists")
_NUMERIC_OPERATORS = ("Lt", "Gt")
"""Known to 1.36 but behind a feature gate that is off by default; the refusal names them."""
_UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")
_NODE_POLICIES = ("Honor", "Ignore")


def tolerations_errors(path: Path, tolerations: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    """`spec.tolerations`."""
    errors: list[FieldError] = []
    for i, toleration in enumerate(tolerations):
        at = path.index(i)
        key, operator = toleration.get("key") or "", toleration.get("operator") or ""
        effect = toleration.get("effect") or ""
        if key:
            errors += rules.label_key(at.child("key"), key)
        elif operator != "Exists":
            words = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            errors.append(invalid(at.child("operator"), operator, words))
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            words = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            errors.append(invalid(at.child("effect"), effect, words))
        errors += _operator_errors(at.child("operator"), operator, toleration.get("value") or "")
        if effect and effect not in _TAINT_EFFECTS:
            errors.append(not_supported(at.child("effect"), effect, _TAINT_EFFECTS))
    return errors


def _operator_errors(path: Path, operator: str, value: str) -> list[FieldError]:
    if operator in ("", "Equal"):
        messages = names.label_value_errors(value)
        return [invalid(path, value, ";".join(messages))] if messages else []
    if operator == "Exists":
        return [invalid(path, value, "value must be empty when `operator` is 'Exists'")] if value else []
    if operator in _NUMERIC_OPERATORS:
        return [not_supported(path, operator, (*_OPERATORS, *_NUMERIC_OPERATORS))]
    return [not_supported(path, operator, _OPERATORS)]


def gates_errors(path: Path, gates: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    """`spec.schedulingGates`."""
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, gate in enumerate(gates):
        name = gate.get("name") or ""
        errors += rules.qualified_name(path.index(i), name)
        if name in seen:
            errors.append(duplicate(path.index(i), name))
        seen.add(name)
    return errors


def topology_errors(path: Path, constraints: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    """`spec.topologySpreadConstraints`."""
    errors: list[FieldError] = []
    for i, constraint in enumerate(constraints):
        at = path.index(i)
        key, action = constraint.get("topologyKey") or "", constraint.get("whenUnsatisfiable") or ""
        errors += rules.positive(at.child("maxSkew"), constraint.get("maxSkew"))
        if not key:
            errors.append(required(at.child("topologyKey"), "can not be empty"))
        if action not in _UNSATISFIABLE:
            errors.append(not_supported(at.child("whenUnsatisfiable"), action, _UNSATISFIABLE))
        if any(_pair(other) == (key, action) for other in constraints[i + 1 :]):
            where = at.child("{topologyKey, whenUnsatisfiable}")
            errors.append(duplicate(where, f"{{{key}, {action}}}"))
        errors += _min_domains_errors(at.child("minDomains"), constraint.get("minDomains"), action)
        for field in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            errors += rules.one_of(at.child(field), constraint.get(field), _NODE_POLICIES)
        selector = constraint.get("labelSelector")
        errors += match_label_keys_errors(at, constraint.get("matchLabelKeys") or (), (), selector)
        errors += rules.label_selector(at.child("labelSelector"), selector)
    return errors


def _pair(constraint: Mapping[str, Any]) -> tuple[str, str]:
    return constraint.get("topologyKey") or "", constraint.get("whenUnsatisfiable") or ""


def _min_domains_errors(path: Path, value: int | None, action: str) -> list[FieldError]:
    if value is None:
        return []
    errors = rules.positive(path, value)
    if action != "DoNotSchedule":
        words = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
        errors.append(invalid(path, value, words))
    return errors


def match_label_keys_errors(
    path: Path, match: Sequence[str], mismatch: Sequence[str], selector: Mapping[str, Any] | None
) -> list[FieldError]:
    """matchLabelKeys and mismatchLabelKeys beside a label selector.

    Runs after the keys were merged into the selector, so a key that stands there twice was written by the user too.
    """
    errors = _label_keys_errors(path.child("matchLabelKeys"), match, selector)
    errors += _label_keys_errors(path.child("mismatchLabelKeys"), mismatch, selector)
    if selector is not None:
        position = {key: i for i, key in enumerate(match)}
        seen = set(selector.get("matchLabels") or {})
        for expression in selector.get("matchExpressions") or ():
            key = expression.get("key") or ""
            if key in position and key in seen:
                words = "exists in both matchLabelKeys and labelSelector"
                errors.append(invalid(path.index(position[key]), key, words))
            seen.add(key)
    for i, key in enumerate(match):
        if key in mismatch:
            words = "exists in both matchLabelKeys and mismatchLabelKeys"
            errors.append(invalid(path.child("matchLabelKeys").index(i), key, words))
    return errors


def _label_keys_errors(
    path: Path, keys: Sequence[str], selector: Mapping[str, Any] | None
) -> list[FieldError]:
    if keys and selector is None:
        return [forbidden(path, "must not be specified when labelSelector is not set")]
    return [error for i, key in enumerate(keys) for error in rules.label_key(path.index(i), key)]
