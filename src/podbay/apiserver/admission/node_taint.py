"""Admission plugin TaintNodesByCondition: a new node takes no pods before it is known to be ready.

Source: plugin/pkg/admission/nodetaint/admission.go. The node lifecycle controller removes the taint.
"""

from __future__ import annotations

from podbay.apiserver.admission.base import Attributes, ClusterReader
from podbay.apiserver.admission.pods import spec_of

__all__ = ["TaintNodesByCondition"]

_TAINT = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


class TaintNodesByCondition:
    """Adds the not-ready taint to nodes that are created without it."""

    name = "TaintNodesByCondition"

    def admit(self, attributes: Attributes, reader: ClusterReader) -> None:
        if attributes.resource.key != "nodes" or attributes.subresource or attributes.obj is None:
            return
        if attributes.operation != "CREATE":
            return
        spec = spec_of(attributes.obj)
        taints = spec.get("taints") or []
        if all({"key": t.get("key"), "effect": t.get("effect")} != _TAINT for t in taints):
            spec["taints"] = [*taints, dict(_TAINT)]

    def validate(self, attributes: Attributes, reader: ClusterReader) -> None:
        """Nothing is refused."""
