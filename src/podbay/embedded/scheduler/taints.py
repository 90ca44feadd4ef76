"""Taints and tolerations. Pure; also used by the node lifecycle controller.

Source: k8s.io/component-helpers/scheduling/corev1/helpers.go, k8s.io/api/core/v1/toleration.go.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

__all__ = ["first_untolerated", "tolerates", "tolerations_for"]


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """Whether one toleration covers one taint."""
    effect, key = toleration.get("effect"), toleration.get("key")
    if effect and effect != taint.get("effect"):
        return False
    if key and key != taint.get("key"):
        return False
    match toleration.get("operator") or "Equal":
        case "Exists":
            return True
        case "Equal":
            return (toleration.get("value") or "") == (taint.get("value") or "")
        case "Gt" | "Lt" as operator:
            try:
                given, bound = int(taint.get("value") or ""), int(toleration.get("value") or "")
            except ValueError:
                return False
            return given > bound if operator == "Gt" else given < bound
    return False


def first_untolerated(
    taints: Iterable[Mapping[str, Any]], tolerations: Sequence[Mapping[str, Any]], effects: Container[Any]
) -> Mapping[str, Any] | None:
    """The first taint with one of the effects that no toleration covers."""
    for taint in taints:
        if taint.get("effect") in effects and not any(tolerates(t, taint) for t in tolerations):
            return taint
    return None


def tolerations_for(
    taint: Mapping[str, Any], tolerations: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """All tolerations that cover the taint."""
    return [t for t in tolerations if tolerates(t, taint)]
