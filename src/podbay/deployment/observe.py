"""Reads from a cluster what a plan is made from. Nothing is written, and no more is read than what may be ours."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from podbay.deployment.desired import desired_objects
from podbay.deployment.labels import MANAGED_BY, ownership_selector
from podbay.deployment.model import Deployment
from podbay.deployment.parts import COLLECTIONS, NAMESPACES, SECRETS, Collection
from podbay.deployment.plan import Key, Observed
from podbay.errors import ApiError
from podbay.objects.api import ObjectList
from podbay.objects.meta import Object, name_of
from podbay.objects.resource import GVR
from podbay.pods.identity import DEPLOYMENT_LABEL

__all__ = ["Reader", "namespaces_named", "observe", "together"]

T = TypeVar("T")

_PRIORITY_CLASSES = GVR("scheduling.k8s.io", "v1", "priorityclasses")


class Reader(Protocol):
    """What of a client is needed here."""

    async def get(
        self, resource: GVR, name: str, *, namespace: str | None = None, subresource: str | None = None
    ) -> Object: ...

    async def list(
        self,
        resource: GVR,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
    ) -> ObjectList: ...


async def observe(api: Reader, deployment: Deployment) -> Observed:
    """Everything that carries our labels or has a name that we want. Raises the cluster's own ApiError."""
    wanted: dict[str, set[str]] = {}
    for each in desired_objects(deployment):
        wanted.setdefault(each["kind"], set()).add(name_of(each))
    first = await _collection(api, deployment, COLLECTIONS[0], wanted["Namespace"])
    # Without the namespace there is nothing in it: no need to ask ten times.
    asked = [each for each in COLLECTIONS[1:] if first or not each.namespaced]
    found = await together(_collection(api, deployment, each, wanted.get(each.kind, set())) for each in asked)
    objects: dict[Key, Object] = {}
    unserved = set()
    for collection, items in zip((COLLECTIONS[0], *asked), (first, *found), strict=True):
        if items is None:
            unserved.add(collection.kind)
            continue
        objects |= {(collection.kind, name_of(each)): each for each in items}
    return Observed(
        elsewhere=tuple(
            each for each in await namespaces_named(api, deployment.name) if each != deployment.namespace
        ),
        objects=objects,
        unserved=frozenset(unserved),
        references=await _references(api, deployment),
    )


async def namespaces_named(api: Reader, name: str) -> list[str]:
    """Namespaces of deployments of that name, but for those being deleted. Empty too for who may not list them."""
    selector = f"{MANAGED_BY}=podbay,{DEPLOYMENT_LABEL}={name}"
    try:
        found = (await api.list(NAMESPACES, label_selector=selector)).items
    except ApiError as err:
        if err.code == 403:
            return []
        raise
    return [name_of(each) for each in found if not each["metadata"].get("deletionTimestamp")]


async def _collection(
    api: Reader, deployment: Deployment, collection: Collection, names: set[str]
) -> list[Object] | None:
    """None when the cluster does not serve the kind."""
    if collection.kind == "Namespace":
        return await _named(api, collection, deployment, names)
    namespace = deployment.namespace if collection.namespaced else None
    selector = ownership_selector(deployment)
    try:
        listed = await api.list(collection.resource, namespace=namespace, label_selector=selector)
    except ApiError as err:
        if err.code == 404:
            return None
        raise
    # A name of ours without our labels is somebody else's object in the way.
    missing = names - {name_of(each) for each in listed.items}
    return [*listed.items, *await _named(api, collection, deployment, missing)]


async def _named(
    api: Reader, collection: Collection, deployment: Deployment, names: Iterable[str]
) -> list[Object]:
    namespace = deployment.namespace if collection.namespaced else None
    found = await together(_get(api, collection.resource, each, namespace) for each in sorted(names))
    return [each for each in found if each is not None]


async def together(asked: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All answers at once; when one fails, its error after the last has come, so that none is left behind."""
    answers = await asyncio.gather(*asked, return_exceptions=True)
    for each in answers:
        if isinstance(each, BaseException):
            raise each
    return [each for each in answers if not isinstance(each, BaseException)]


async def _get(api: Reader, resource: GVR, name: str, namespace: str | None) -> Object | None:
    try:
        return await api.get(resource, name, namespace=namespace)
    except ApiError as err:
        if err.code == 404:
            return None
        raise


async def _references(api: Reader, deployment: Deployment) -> Mapping[Key, bool]:
    """Whether what podbay.yaml names without making it is there: pull secrets and the priority class."""
    asked: dict[Key, Any] = {
        ("Secret", name): _get(api, SECRETS, name, deployment.namespace)
        for name in deployment.pods.all_pull_secrets
    }
    if deployment.pods.priority_class:
        name = deployment.pods.priority_class
        asked["PriorityClass", name] = _get(api, _PRIORITY_CLASSES, name, None)
    answers = await together(asked.values())
    return {key: answer is not None for key, answer in zip(asked, answers, strict=True)}
