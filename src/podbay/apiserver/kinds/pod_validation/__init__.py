"""Validation of pods, one module a topic; `spec`, `update`, `status` and `subresources` are the ways in.

Validation of 1.36 with its default feature gates: pods are checked as ValidatePodCreate and its siblings do, with the
same field paths, words and order. Nothing here raises or changes what it is given.
"""

from podbay.apiserver.kinds.pod_validation.spec import validate_pod_create
from podbay.apiserver.kinds.pod_validation.status import validate_pod_status_update
from podbay.apiserver.kinds.pod_validation.subresources import (
    validate_ephemeral_containers_update,
    validate_resize,
)
from podbay.apiserver.kinds.pod_validation.update import validate_pod_update

__all__ = [
    "validate_ephemeral_containers_update",
    "validate_pod_create",
    "validate_pod_status_update",
    "validate_pod_update",
    "validate_resize",
]
