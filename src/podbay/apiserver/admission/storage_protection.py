"""Admission plugin StorageObjectInUseProtection: storage in use is deleted only when it is let go.

Source: plugin/pkg/admission/storage/storageobjectinuseprotection/admission.go. A controller takes the finalizer off.
"""

from __future__ import annotations

from podbay.apiserver.admission.base import Attributes, ClusterReader
from podbay.objects.meta import metadata_of

__all__ = ["StorageObjectInUseProtection"]

_FINALIZERS = {
    "persistentvolumes": "kubernetes.io/pv-protection",
    "persistentvolumeclaims": "kubernetes.io/pvc-protection",
    "volumeattributesclasses.storage.k8s.io": "kubernetes.io/vac-protection",
}


class StorageObjectInUseProtection:
    """Puts the protecting finalizer on new volumes and claims."""

    name = "StorageObjectInUseProtection"

    def admit(self, attributes: Attributes, reader: ClusterReader) -> None:
        finalizer = _FINALIZERS.get(attributes.resource.key)
        if finalizer is None or attributes.subresource or attributes.obj is None:
            return
        if attributes.operation != "CREATE":
            return
        metadata = metadata_of(attributes.obj)
        present = metadata.get("finalizers") or []
        if finalizer not in present:
            metadata["finalizers"] = [*present, finalizer]

    def validate(self, attributes: Attributes, reader: ClusterReader) -> None:
        """Nothing is refused."""
