"""Admission plugin NamespaceLifecycle: nothing is created in a namespace that is missing or going away.

Source: k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle.
"""

from __future__ import annotations

from podbay.apiserver import status
from podbay.apiserver.admission.base import Attributes, ClusterReader
from podbay.apiserver.admission.refusal import forbidden
from podbay.errors import ApiError
from podbay.objects.resource import GroupResource

__all__ = ["NamespaceLifecycle"]

_NAMESPACES = GroupResource("", "namespaces")
_IMMORTAL = frozenset(["default", "kube-system", "kube-public"])
_ACCESS_REVIEWS = frozenset([GroupResource("authorization.k8s.io", "localsubjectaccessreviews")])
"""An answer about the namespace would tell callers whether it exists."""


class NamespaceLifecycle:
    """Refuses deletes of the system's namespaces, and creates in namespaces that cannot take objects."""

    name = "NamespaceLifecycle"

    def admit(self, attributes: Attributes, reader: ClusterReader) -> None:
        resource = attributes.resource.group_resource
        if resource == _NAMESPACES:
            if attributes.operation == "DELETE" and attributes.name in _IMMORTAL:
                raise status.forbidden(resource, attributes.name, "this namespace may not be deleted")
            return
        if attributes.operation != "CREATE" or not attributes.namespace or resource in _ACCESS_REVIEWS:
            return
        namespace = reader.get("namespaces", "", attributes.namespace)
        if namespace is None:
            raise status.not_found(_NAMESPACES, attributes.namespace)
        if (namespace.get("status") or {}).get("phase") == "Terminating":
            raise _terminating(attributes)

    def validate(self, attributes: Attributes, reader: ClusterReader) -> None:
        """Everything is decided in admit, before other plugins look into the namespace."""


def _terminating(attributes: Attributes) -> ApiError:
    namespace = attributes.namespace
    error = forbidden(
        attributes, f"unable to create new content in namespace {namespace} because it is being terminated"
    )
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {namespace} is being terminated",
        "field": "metadata.namespace",
    }
    error.details = {**(error.details or {}), "causes": [cause]}
    return error
