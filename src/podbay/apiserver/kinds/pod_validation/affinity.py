"""Affinity to nodes and to other pods.

Source: validateAffinity and its parts in pkg/apis/core/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from podbay.apiserver.field import FieldError, Path, forbidden, invalid, required
from podbay.apiserver.kinds.pod_validation import rules
from podbay.apiserver.kinds.pod_validation.scheduling import match_label_keys_errors
from podbay.objects import names

__all__ = ["affinity_errors"]

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_OPERATOR = "not a valid selector operator"
_WEIGHT = "must be in the range 1-100"

Term = Mapping[str, Any]


def affinity_errors(path: Path, affinity: Mapping[str, Any] | None) -> list[FieldError]:
    """`spec.affinity`."""
    errors: list[FieldError] = []
    if affinity is None:
        return errors
    node = affinity.get("nodeAffinity")
    if node is not None:
        errors += _node_affinity_errors(path.child("nodeAffinity"), node)
    for field in ("podAffinity", "podAntiAffinity"):
        pods = affinity.get(field)
        if pods is not None:
            errors += _pod_affinity_errors(path.child(field), pods)
    return errors


def _node_affinity_errors(path: Path, affinity: Term) -> list[FieldError]:
    errors: list[FieldError] = []
    needed = affinity.get(_REQUIRED)
    if needed is not None:
        at = path.child(_REQUIRED, "nodeSelectorTerms")
        terms = needed.get("nodeSelectorTerms") or []
        if not terms:
            errors.append(required(at, "must have at least one node selector term"))
        for i, term in enumerate(terms):
            errors += _node_term_errors(at.index(i), term, check_values=True)
    for i, weighted in enumerate(affinity.get(_PREFERRED) or ()):
        at = path.child(_PREFERRED).index(i)
        errors += _weight_errors(at.child("weight"), weighted.get("weight") or 0)
        preference = weighted.get("preference") or {}
        errors += _node_term_errors(at.child("preference"), preference, check_values=False)
    return errors


def _weight_errors(path: Path, weight: int) -> list[FieldError]:
    return [] if 0 < weight <= 100 else [invalid(path, weight, _WEIGHT)]


def _node_term_errors(path: Path, term: Term, *, check_values: bool) -> list[FieldError]:
    """One node selector term; bad label values are let pass in preferences, for the sake of old objects."""
    errors: list[FieldError] = []
    for i, requirement in enumerate(term.get("matchExpressions") or ()):
        at = path.child("matchExpressions").index(i)
        errors += _requirement_errors(at, requirement, check_values=check_values)
    for i, requirement in enumerate(term.get("matchFields") or ()):
        errors += _field_requirement_errors(path.child("matchFields").index(i), requirement)
    return errors


def _requirement_errors(path: Path, requirement: Term, *, check_values: bool) -> list[FieldError]:
    operator, values = requirement.get("operator") or "", requirement.get("values") or []
    at = path.child("values")
    errors: list[FieldError] = []
    if operator in ("In", "NotIn"):
        if not values:
            errors.append(required(at, "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            words = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(forbidden(at, words))
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            errors.append(required(at, "must be specified single value when `operator` is 'Lt' or 'Gt'"))
    else:
        errors.append(invalid(path.child("operator"), operator, _OPERATOR))
    errors += rules.label_key(path.child("key"), requirement.get("key") or "")
    if check_values:
        for i, value in enumerate(values):
            errors += rules.each(at.index(i), value, names.label_value_errors(value))
    return errors


def _field_requirement_errors(path: Path, requirement: Term) -> list[FieldError]:
    operator, values = requirement.get("operator") or "", requirement.get("values") or []
    key = requirement.get("key") or ""
    errors: list[FieldError] = []
    if operator not in ("In", "NotIn"):
        errors.append(invalid(path.child("operator"), operator, _OPERATOR))
    elif len(values) != 1:
        words = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        errors.append(required(path.child("values"), words))
    if key != "metadata.name":
        return [*errors, invalid(path.child("key"), key, "not a valid field selector key")]
    for i, value in enumerate(values):
        errors += rules.name(path.child("values").index(i), value)
    return errors


def _pod_affinity_errors(path: Path, affinity: Term) -> list[FieldError]:
    errors: list[FieldError] = []
    terms: Sequence[Term] = affinity.get(_REQUIRED) or ()
    for i, term in enumerate(terms):
        errors += _pod_term_errors(path.child(_REQUIRED).index(i), term)
    for i, weighted in enumerate(affinity.get(_PREFERRED) or ()):
        at = path.child(_PREFERRED).index(i)
        errors += _weight_errors(at.child("weight"), weighted.get("weight") or 0)
        errors += _pod_term_errors(at.child("podAffinityTerm"), weighted.get("podAffinityTerm") or {})
    return errors


def _pod_term_errors(path: Path, term: Term) -> list[FieldError]:
    selector = term.get("labelSelector")
    errors = rules.label_selector(path.child("labelSelector"), selector)
    errors += rules.label_selector(path.child("namespaceSelector"), term.get("namespaceSelector"))
    for name in term.get("namespaces") or ():
        errors += rules.short_name(path.child("namespace"), name)
    match, mismatch = term.get("matchLabelKeys") or (), term.get("mismatchLabelKeys") or ()
    errors += match_label_keys_errors(path, match, mismatch, selector)
    key = term.get("topologyKey") or ""
    at = path.child("topologyKey")
    if not key:
        errors.append(required(at, "can not be empty"))
    return errors + rules.label_key(at, key)
