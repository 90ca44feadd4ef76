"""Admission plugin DefaultTolerationSeconds: pods outlive a node's failure by five minutes.

Source: plugin/pkg/admission/defaulttolerationseconds/admission.go.
"""

from __future__ import annotations

from podbay.apiserver.admission.base import Attributes, ClusterReader
from podbay.apiserver.admission.pods import spec_of

__all__ = ["DefaultTolerationSeconds"]

_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_SECONDS = 300


class DefaultTolerationSeconds:
    """Adds a toleration for each taint of a failed node that the pod does not tolerate already."""

    name = "DefaultTolerationSeconds"

    def admit(self, attributes: Attributes, reader: ClusterReader) -> None:
        if attributes.resource.key != "pods" or attributes.subresource or attributes.obj is None:
            return
        if attributes.operation not in ("CREATE", "UPDATE"):
            return
        spec = spec_of(attributes.obj)
        given = spec.get("tolerations") or []
        covered = {
            taint
            for taint in _TAINTS
            for toleration in given
            if (toleration.get("key") or taint) == taint
            and (toleration.get("effect") or "NoExecute") == "NoExecute"
        }
        added = [
            {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _SECONDS}
            for taint in _TAINTS
            if taint not in covered
        ]
        if added:
            spec["tolerations"] = [*given, *added]

    def validate(self, attributes: Attributes, reader: ClusterReader) -> None:
        """Nothing is refused."""
