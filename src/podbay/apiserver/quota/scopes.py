"""Which objects a ResourceQuota with scopes looks at.

Source: pkg/quota/v1/evaluator/core/{pods,persistent_volume_claims}.go and pkg/apis/core/v1/helper
(ScopedResourceSelectorRequirementsAsSelector).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podbay.apiserver.kinds.pod_qos import compute_qos
from podbay.objects.meta import Object

__all__ = ["is_terminating", "matches_scopes", "scope_selectors"]


def scope_selectors(quota: Object) -> list[Mapping[str, Any]]:
    """Every scope of the quota as a requirement: `scopes` read as Exists, then `scopeSelector`."""
    spec = quota.get("spec") or {}
    selectors = [{"scopeName": scope, "operator": "Exists"} for scope in spec.get("scopes") or ()]
    return selectors + list((spec.get("scopeSelector") or {}).get("matchExpressions") or ())


def matches_scopes(quota: Object, obj: Object, *, key: str) -> bool:
    """Whether an object of the collection `key` is within all scopes of the quota.

    Kinds other than pods and claims are within no scope, so any scope keeps them out.
    """
    return all(_in_scope(selector, key, obj) for selector in scope_selectors(quota))


def is_terminating(pod: Object) -> bool:
    """Whether the pod has a deadline (scope Terminating; unrelated to deletion)."""
    deadline = (pod.get("spec") or {}).get("activeDeadlineSeconds")
    return deadline is not None and deadline >= 0


def _in_scope(selector: Mapping[str, Any], key: str, obj: Object) -> bool:
    if key == "pods":
        return _pod_in_scope(selector, obj)
    if key == "persistentvolumeclaims":
        return _claim_in_scope(selector, obj)
    return False


def _pod_in_scope(selector: Mapping[str, Any], pod: Object) -> bool:
    match selector.get("scopeName"):
        case "Terminating":
            return is_terminating(pod)
        case "NotTerminating":
            return not is_terminating(pod)
        case "BestEffort":
            return _is_best_effort(pod)
        case "NotBestEffort":
            return not _is_best_effort(pod)
        case "PriorityClass":
            return _selects(selector, (pod.get("spec") or {}).get("priorityClassName") or "")
        case "CrossNamespacePodAffinity":
            return _crosses_namespaces(pod)
    return False


def _claim_in_scope(selector: Mapping[str, Any], claim: Object) -> bool:
    if selector.get("scopeName") != "VolumeAttributesClass":
        return False
    spec, status = claim.get("spec") or {}, claim.get("status") or {}
    classes = {
        spec.get("volumeAttributesClassName") or "",
        status.get("currentVolumeAttributesClassName") or "",
        (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName") or "",
    }
    # A claim that is being modified belongs to its old class and to its new one.
    return any(_selects(selector, name) for name in (classes - {""}) or {""})


def _selects(selector: Mapping[str, Any], name: str) -> bool:
    """Apply the operator to the one name an object has for this scope; the empty name means it has none."""
    values = selector.get("values") or ()
    match selector.get("operator"):
        case "In":
            return name != "" and name in values
        case "NotIn":
            return name == "" or name not in values
        case "Exists":
            return name != ""
        case "DoesNotExist":
            return name == ""
    return False


def _is_best_effort(pod: Object) -> bool:
    qos = (pod.get("status") or {}).get("qosClass") or compute_qos(pod.get("spec") or {})
    return bool(qos == "BestEffort")


def _crosses_namespaces(pod: Object) -> bool:
    affinity = (pod.get("spec") or {}).get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        terms = list(rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        for weighted in rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
            terms.append(weighted.get("podAffinityTerm") or {})
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms):
            return True
    return False
