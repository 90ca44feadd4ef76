"""Refuse early, the part about where a pod may run: selectors, tolerations, spreading. See validate.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from podbay.objects import names
from podbay.pods.problems import Problem

__all__ = ["scheduling_problems"]

_TOLERATION_OPERATORS: Final = ("Exists", "Equal", "Lt", "Gt")
_NODE_OPERATORS: Final = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"


def scheduling_problems(spec: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with the fields of a PodSpec that the scheduler reads."""
    for key, value in (spec.get("nodeSelector") or {}).items():
        path = f"spec.nodeSelector[{key}]"
        for message in [*names.qualified_name_errors(key), *names.label_value_errors(value)]:
            yield Problem(path, message)
    for index, toleration in enumerate(spec.get("tolerations") or ()):
        yield from _toleration(toleration, f"spec.tolerations[{index}]")
    yield from _node_affinity(spec.get("affinity") or {})
    for index, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        path = f"spec.topologySpreadConstraints[{index}]"
        if (constraint.get("maxSkew") or 0) < 1:
            yield Problem(f"{path}.maxSkew", "must be at least 1")
        if not constraint.get("topologyKey"):
            yield Problem(f"{path}.topologyKey", "is required")
        if constraint.get("whenUnsatisfiable") not in ("DoNotSchedule", "ScheduleAnyway"):
            yield Problem(f"{path}.whenUnsatisfiable", "must be one of DoNotSchedule, ScheduleAnyway")


def _toleration(toleration: Mapping[str, Any], path: str) -> Iterator[Problem]:
    operator = toleration.get("operator") or "Equal"
    if operator not in _TOLERATION_OPERATORS:
        yield Problem(f"{path}.operator", f"must be one of {', '.join(_TOLERATION_OPERATORS)}")
    if toleration.get("key"):
        for message in names.qualified_name_errors(toleration["key"]):
            yield Problem(f"{path}.key", message)
    elif operator != "Exists":
        yield Problem(f"{path}.operator", "must be Exists where no key is given")
    if operator == "Exists" and toleration.get("value"):
        yield Problem(f"{path}.value", "must be empty where operator is Exists")
    if toleration.get("effect") and toleration["effect"] not in _EFFECTS:
        yield Problem(f"{path}.effect", f"must be one of {', '.join(_EFFECTS)}")
    if toleration.get("tolerationSeconds") is not None and toleration.get("effect") != "NoExecute":
        yield Problem(f"{path}.effect", "must be NoExecute where tolerationSeconds is given")


def _node_affinity(affinity: Mapping[str, Any]) -> Iterator[Problem]:
    given = affinity.get("nodeAffinity") or {}
    base = "spec.affinity.nodeAffinity"
    if _REQUIRED in given:
        terms = given[_REQUIRED].get("nodeSelectorTerms") or ()
        if not terms:
            yield Problem(f"{base}.{_REQUIRED}.nodeSelectorTerms", "must have at least one term")
        for index, term in enumerate(terms):
            yield from _node_term(term, f"{base}.{_REQUIRED}.nodeSelectorTerms[{index}]")
    for index, preferred in enumerate(given.get(_PREFERRED) or ()):
        path = f"{base}.{_PREFERRED}[{index}]"
        if not 1 <= (preferred.get("weight") or 0) <= 100:
            yield Problem(f"{path}.weight", "must be between 1 and 100, inclusive")
        yield from _node_term(preferred.get("preference") or {}, f"{path}.preference")


def _node_term(term: Mapping[str, Any], path: str) -> Iterator[Problem]:
    for index, expression in enumerate(term.get("matchExpressions") or ()):
        where, operator = f"{path}.matchExpressions[{index}]", expression.get("operator")
        values = expression.get("values") or ()
        if not expression.get("key"):
            yield Problem(f"{where}.key", "is required")
        if operator not in _NODE_OPERATORS:
            yield Problem(f"{where}.operator", f"must be one of {', '.join(_NODE_OPERATORS)}")
        elif operator in ("In", "NotIn") and not values:
            yield Problem(f"{where}.values", f"must have at least one value where operator is {operator}")
        elif operator in ("Exists", "DoesNotExist") and values:
            yield Problem(f"{where}.values", f"must be empty where operator is {operator}")
        elif operator in ("Gt", "Lt") and len(values) != 1:
            yield Problem(f"{where}.values", f"must have exactly one value where operator is {operator}")
