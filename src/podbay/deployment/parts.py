"""The kinds of objects that a deployment consists of, in the order in which they are applied.

The order is what makes an interrupted apply safe: what limits pods comes before what lets anybody make them. A name for
each kind, its URL, and whether it lives in the namespace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from podbay.objects.meta import Object
from podbay.objects.resource import GVR

__all__ = ["COLLECTIONS", "NAMESPACES", "SECRETS", "Collection", "collection_of"]


@dataclass(frozen=True, slots=True)
class Collection:
    """One kind. `guards` tells that without it pods would be less limited than podbay.yaml says."""

    kind: str
    resource: GVR
    namespaced: bool = True
    guards: bool = False
    grants: bool = False
    """It lets somebody launch pods: applied only when every guard stands."""


_RBAC: Final = "rbac.authorization.k8s.io"
_ADMISSION: Final = "admissionregistration.k8s.io"

NAMESPACES: Final = GVR("", "v1", "namespaces")
SECRETS: Final = GVR("", "v1", "secrets")

COLLECTIONS: Final = (
    Collection("Namespace", NAMESPACES, namespaced=False, guards=True),
    Collection(
        "PriorityClass", GVR("scheduling.k8s.io", "v1", "priorityclasses"), namespaced=False, guards=True
    ),
    Collection("LimitRange", GVR("", "v1", "limitranges"), guards=True),
    Collection("ResourceQuota", GVR("", "v1", "resourcequotas"), guards=True),
    Collection("NetworkPolicy", GVR("networking.k8s.io", "v1", "networkpolicies"), guards=True),
    Collection(
        "ValidatingAdmissionPolicy",
        GVR(_ADMISSION, "v1", "validatingadmissionpolicies"),
        namespaced=False,
        guards=True,
    ),
    Collection(
        "ValidatingAdmissionPolicyBinding",
        GVR(_ADMISSION, "v1", "validatingadmissionpolicybindings"),
        namespaced=False,
        guards=True,
    ),
    Collection("Secret", SECRETS),
    Collection("ServiceAccount", GVR("", "v1", "serviceaccounts")),
    Collection("Role", GVR(_RBAC, "v1", "roles")),
    Collection("RoleBinding", GVR(_RBAC, "v1", "rolebindings"), grants=True),
)
_BY_KIND: Final = {each.kind: each for each in COLLECTIONS}


def collection_of(obj: Object) -> Collection:
    """The collection of one of our objects; KeyError for a kind that no deployment has."""
    return _BY_KIND[obj["kind"]]
