"""Takes a deployment out of a cluster: what apply made and its logins of registries, and nothing that was there before.

The right to launch pods goes first, then the namespace with all that is in it, last what lives outside of it. An
interrupted destroy is finished by the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from podbay.aio.clock import Clock
from podbay.deployment.apply import Applied, Writer
from podbay.deployment.labels import ADOPTED_ANNOTATION, FIELD_MANAGER, REGISTRY_LABEL, is_owned
from podbay.deployment.model import Deployment
from podbay.deployment.observe import Reader, observe
from podbay.deployment.parts import COLLECTIONS, NAMESPACES, Collection, collection_of
from podbay.deployment.plan import Change, Observed, is_deletable
from podbay.errors import ApiError, StateError
from podbay.objects.meta import Object, annotations_of, labels_of, metadata_of, uid_of
from podbay.objects.resource import GVR

__all__ = ["Removal", "destroy", "plan_removal", "removal_of"]

_PODS = GVR("", "v1", "pods")
_CLAIMS = GVR("", "v1", "persistentvolumeclaims")
_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What would go, and what goes with the namespace."""

    deployment: Deployment
    changes: tuple[Change, ...]
    running_pods: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    """PersistentVolumeClaims: data that somebody may want."""
    kept: tuple[str, ...] = ()
    """Objects that were there before Podbay and stay."""

    @property
    def takes_namespace(self) -> bool:
        return _takes_namespace(self.changes)


def _takes_namespace(changes: Iterable[Change]) -> bool:
    return any(each.key[0] == "Namespace" and each.action == "delete" for each in changes)


def plan_removal(deployment: Deployment, observed: Observed) -> tuple[list[Change], list[str]]:
    """Deletions in order, and what is kept: of those only our own fields go. Pure."""
    namespace = observed.objects.get(("Namespace", deployment.namespace))
    whole = namespace is not None and is_deletable(namespace, deployment)
    changes = []
    for collection in _order():
        for key, live in observed.objects.items():
            # What is in a namespace that goes goes with it.
            if key[0] != collection.kind or (whole and collection.namespaced and not collection.grants):
                continue
            if _is_adopted(live, deployment):
                changes.append(Change(action="release", key=key, live=live))
            elif is_deletable(live, deployment) or _is_login(live, deployment):
                changes.append(Change(action="delete", key=key, live=live))
    return changes, [str(each) for each in changes if each.action == "release"]


def _is_adopted(live: Object, deployment: Deployment) -> bool:
    return is_owned(live, deployment) and annotations_of(live).get(ADOPTED_ANNOTATION) == "true"


def _is_login(live: Object, deployment: Deployment) -> bool:
    """A Secret of `podbay registry`, with a password: it goes with its deployment also where the namespace stays."""
    return (
        live["kind"] == "Secret"
        and is_owned(live, deployment)
        and labels_of(live).get(REGISTRY_LABEL) == "true"
        and not metadata_of(live).get("deletionTimestamp")
    )


def _order() -> list[Collection]:
    grants = [each for each in COLLECTIONS if each.grants]
    inside = [each for each in reversed(COLLECTIONS) if each.namespaced and not each.grants]
    outside = [each for each in reversed(COLLECTIONS) if not each.namespaced and each.kind != "Namespace"]
    return [*grants, *inside, COLLECTIONS[0], *outside]


async def removal_of(api: Reader, deployment: Deployment) -> Removal:
    """Look at what is there."""
    changes, kept = plan_removal(deployment, await observe(api, deployment))
    pods: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    if _takes_namespace(changes):
        pods = _names(
            (await api.list(_PODS, namespace=deployment.namespace)).items,
            lambda each: (each.get("status") or {}).get("phase") not in ("Succeeded", "Failed"),
        )
        claims = _names((await api.list(_CLAIMS, namespace=deployment.namespace)).items, lambda _: True)
    return Removal(
        deployment=deployment,
        changes=tuple(changes),
        running_pods=pods,
        claims=claims,
        kept=tuple(kept),
    )


def _names(objects: list[Object], chosen: Callable[[Object], bool]) -> tuple[str, ...]:
    return tuple(each["metadata"]["name"] for each in objects if chosen(each))


async def destroy(
    api: Writer,
    removal: Removal,
    clock: Clock,
    *,
    told: Callable[[Applied], None] = lambda _: None,
    wait_seconds: float = 300.0,
) -> list[Applied]:
    """Delete, in order, and wait until the namespace is gone. Refusals are in the result.

    Raises StateError when the namespace is not gone after wait_seconds: then something in it will not end.
    """
    results = []
    for change in removal.changes:
        try:
            await _remove(api, removal.deployment, change)
            result = Applied(change, "deleted" if change.action == "delete" else "released")
        except ApiError as err:
            if err.code == 401:
                raise
            result = Applied(change, "refused", err.message)
        results.append(result)
        told(result)
    if removal.takes_namespace and all(each.done != "refused" for each in results):
        await _wait_gone(api, removal.deployment.namespace, clock, wait_seconds)
    return results


async def _remove(api: Writer, deployment: Deployment, change: Change) -> None:
    assert change.live is not None
    collection = collection_of(change.live)
    namespace = deployment.namespace if collection.namespaced else None
    kind, name = change.key
    if change.action == "release":
        # Applying nothing takes away what we applied before, and only that.
        nothing = {"apiVersion": collection.resource.api_version, "kind": kind, "metadata": {"name": name}}
        await api.patch(
            collection.resource,
            name,
            nothing,
            namespace=namespace,
            patch_type="apply",
            field_manager=FIELD_MANAGER,
            force=True,
        )
        return
    options = {"preconditions": {"uid": uid_of(change.live)}, "propagationPolicy": "Background"}
    try:
        await api.delete(collection.resource, name, namespace=namespace, options=options)
    except ApiError as err:
        if err.code != 404:
            raise


async def _wait_gone(api: Reader, namespace: str, clock: Clock, seconds: float) -> None:
    deadline = clock.monotonic() + seconds
    while True:
        try:
            found = await api.get(NAMESPACES, namespace)
        except ApiError as err:
            if err.code == 404:
                return
            raise
        if clock.monotonic() >= deadline:
            conditions = (found.get("status") or {}).get("conditions") or ()
            said = "; ".join(str(each.get("message")) for each in conditions if each.get("status") == "True")
            raise StateError(
                f"namespace {namespace} is still there after {seconds:.0f} s"
                + (f": {said}" if said else "")
                + ". Something in it does not end; look with `kubectl get all -n "
                + namespace
                + "`."
            )
        await clock.sleep(_POLL_SECONDS)
