"""Whose an object is: labels and the field manager by which Podbay knows what it may change and delete again.

An object is a deployment's own when it carries both labels *and* was applied by our field manager. The labels alone are
not enough: task pods and Secrets lent to them carry them too, and anybody can copy a label. Logins of registries, which no
apply makes, have a label more.
"""

from __future__ import annotations

from typing import Final

from podbay.deployment.model import Deployment
from podbay.objects.meta import Object, labels_of
from podbay.pods.identity import DEPLOYMENT_LABEL

__all__ = [
    "ADOPTED_ANNOTATION",
    "FIELD_MANAGER",
    "MANAGED_BY",
    "NAMESPACE_LABEL",
    "REGISTRY_LABEL",
    "REVISION_ANNOTATION",
    "is_applied_by_us",
    "is_owned",
    "ownership_labels",
    "ownership_selector",
]

FIELD_MANAGER: Final = "podbay"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
NAMESPACE_LABEL: Final = "podbay.dev/namespace"
"""On cluster-scoped objects too, so that two deployments of one name never touch each other's."""
REVISION_ANNOTATION: Final = "podbay.dev/revision"
"""On the Namespace: digest of everything desired. It changes first, so two people who apply at once meet there."""
REGISTRY_LABEL: Final = "podbay.dev/registry"
"""On Secrets that `podbay registry add` has made."""
ADOPTED_ANNOTATION: Final = "podbay.dev/adopted"
"""On an object that was there before: `podbay destroy` leaves it."""


def ownership_labels(deployment: Deployment) -> dict[str, str]:
    """What every object of the deployment carries."""
    return {
        MANAGED_BY: "podbay",
        DEPLOYMENT_LABEL: deployment.name,
        NAMESPACE_LABEL: deployment.namespace,
    }


def ownership_selector(deployment: Deployment) -> str:
    """The same as a label selector."""
    return ",".join(f"{key}={value}" for key, value in sorted(ownership_labels(deployment).items()))


def is_owned(obj: Object, deployment: Deployment) -> bool:
    """The object carries the deployment's labels."""
    found = labels_of(obj)
    return all(found.get(key) == value for key, value in ownership_labels(deployment).items())


def is_applied_by_us(obj: Object) -> bool:
    """Our field manager has applied something of it."""
    entries = (obj.get("metadata") or {}).get("managedFields") or ()
    return any(each.get("manager") == FIELD_MANAGER and each.get("operation") == "Apply" for each in entries)
