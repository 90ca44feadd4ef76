"""Everything that a podbay.yaml asks of a cluster, as Kubernetes objects in the order of applying. Pure."""

from __future__ import annotations

import hashlib
from typing import Final

import orjson

from podbay.deployment.access import access_objects
from podbay.deployment.admission import admission_objects
from podbay.deployment.labels import REVISION_ANNOTATION, ownership_labels
from podbay.deployment.limits import limit_objects
from podbay.deployment.model import Deployment
from podbay.deployment.network import network_objects
from podbay.deployment.parts import COLLECTIONS, collection_of
from podbay.objects.meta import Object, labels_of, metadata_of

__all__ = ["desired_objects", "revision_of"]

_ORDER: Final = {each.kind: number for number, each in enumerate(COLLECTIONS)}


def desired_objects(deployment: Deployment) -> list[Object]:
    """The objects, each with the deployment's labels; the Namespace first, the right to launch pods last."""
    objects = [
        _namespace(deployment),
        *limit_objects(deployment),
        *network_objects(deployment),
        *admission_objects(deployment),
        *access_objects(deployment),
    ]
    objects.sort(key=lambda each: _ORDER[collection_of(each).kind])
    for each in objects:
        metadata_of(each)["labels"] = {**labels_of(each), **ownership_labels(deployment)}
    metadata_of(objects[0])["annotations"] = {REVISION_ANNOTATION: _digest(objects)}
    return objects


def revision_of(objects: list[Object]) -> str:
    """The digest of all that is desired, as the Namespace carries it."""
    revision: str = objects[0]["metadata"]["annotations"][REVISION_ANNOTATION]
    return revision


def _namespace(deployment: Deployment) -> Object:
    level = deployment.pods.security
    labels = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "warn")}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": deployment.namespace, "labels": labels},
    }


def _digest(objects: list[Object]) -> str:
    return hashlib.sha256(orjson.dumps(objects, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
