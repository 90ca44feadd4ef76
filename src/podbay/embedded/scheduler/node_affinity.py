"""nodeSelector and node affinity: does a node's labels and name match what a pod requires?

Pure. Source: k8s.io/component-helpers/scheduling/corev1/nodeaffinity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["matches_required", "matches_term", "preferred_score"]


def _matches_expression(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value = labels.get(expression.get("key") or "")
    values: Sequence[str] = expression.get("values") or ()
    match expression.get("operator"):
        case "In":
            return value is not None and value in values
        case "NotIn":
            return value is None or value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as operator:
            return _compare(operator, value, values)
    return False


def _compare(operator: str, value: str | None, values: Sequence[str]) -> bool:
    try:
        number, bound = int(value or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return number > bound if operator == "Gt" else number < bound


def matches_term(term: Mapping[str, Any], labels: Mapping[str, str], name: str) -> bool:
    """A NodeSelectorTerm: all expressions and fields must match; an empty term matches nothing."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(_matches_expression(e, labels) for e in expressions) and all(
        _matches_expression(f, {"metadata.name": name}) for f in fields
    )


def matches_required(spec: Mapping[str, Any], labels: Mapping[str, str], name: str) -> bool:
    """spec.nodeSelector and the required part of spec.affinity.nodeAffinity."""
    selector = spec.get("nodeSelector")
    if selector and any(labels.get(key) != value for key, value in selector.items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(matches_term(term, labels, name) for term in required.get("nodeSelectorTerms") or ())


def preferred_score(spec: Mapping[str, Any], labels: Mapping[str, str], name: str) -> int:
    """The sum of the weights of the preferred terms that match."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    total = 0
    for preferred in affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
        term = preferred.get("preference") or {}
        empty = not term.get("matchExpressions") and not term.get("matchFields")
        if not empty and matches_term(term, labels, name):
            total += int(preferred.get("weight") or 0)
    return total
