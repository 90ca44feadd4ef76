"""Which watch tells of a pod, and whose pod it is. Pure."""

from __future__ import annotations

from dataclasses import replace

from podbay.kube.lease import pods_of
from podbay.kube.watch import Scope
from podbay.objects.meta import Object, labels_of, name_of, namespace_of
from podbay.pods.identity import DEPLOYMENT_LABEL, identity_of

__all__ = ["is_same_task_try", "own_scope", "scope_of"]


def scope_of(pod: Object) -> Scope:
    """The common watch of a deployment's pods; a pod without one is watched alone."""
    deployment = labels_of(pod).get(DEPLOYMENT_LABEL)
    if deployment is None:
        return own_scope(pod)
    return pods_of(namespace_of(pod), f"{DEPLOYMENT_LABEL}={deployment}")


def own_scope(pod: Object) -> Scope:
    return replace(pods_of(namespace_of(pod)), field_selector=f"metadata.name={name_of(pod)}")


def is_same_task_try(manifest: Object, pod: Object) -> bool:
    """Made for the same try of the same task, whichever incarnation."""
    wanted, found = identity_of(manifest), identity_of(pod)
    return (
        wanted is not None and found is not None and replace(found, incarnation=wanted.incarnation) == wanted
    )
