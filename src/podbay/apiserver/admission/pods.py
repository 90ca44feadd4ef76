"""Reaching the pod spec in an admission request.

A pod may arrive without `spec`; Kubernetes' typed objects always have one, so plugins get an empty one.
"""

from __future__ import annotations

from typing import Any

from podbay.apiserver.admission.base import Attributes
from podbay.objects.meta import Object

__all__ = ["new_pod_spec", "spec_of"]


def spec_of(obj: Object) -> dict[str, Any]:
    """`spec`, created when absent or null, so that callers may write into it."""
    spec: dict[str, Any] | None = obj.get("spec")
    if spec is None:
        spec = obj["spec"] = {}
    return spec


def new_pod_spec(attributes: Attributes) -> dict[str, Any] | None:
    """The spec of the pod that this request creates; None for every other request (bindings and evictions too)."""
    if attributes.resource.key != "pods" or attributes.operation != "CREATE" or attributes.subresource:
        return None
    return None if attributes.obj is None else spec_of(attributes.obj)
