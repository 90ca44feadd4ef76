"""Objects that every namespace has: the `default` service account and the `kube-root-ca.crt` ConfigMap.

Source: pkg/controller/serviceaccount/serviceaccounts_controller.go, pkg/controller/certificates/rootcacertpublisher.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from podbay.aio.clock import Clock
from podbay.aio.informer import Informer, InformerSet
from podbay.embedded.controllers.base import CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS, Loop
from podbay.errors import ApiError
from podbay.objects.api import ClusterApi
from podbay.objects.meta import Object, namespace_of
from podbay.objects.resource import GVR

__all__ = ["PerNamespace", "Wanted", "default_service_account", "root_ca"]

_ROOT_CA = "kube-root-ca.crt"
_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of "
    "Kubernetes clusters."
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object to keep in every active namespace; `amend` returns a corrected copy, or None when it is right."""

    resource: GVR
    name: str
    build: Callable[[], Object]
    amend: Callable[[Object], Object | None]


def default_service_account() -> Wanted:
    """The service account of pods that name none."""

    def build() -> Object:
        return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}

    return Wanted(SERVICE_ACCOUNTS, "default", build, lambda _: None)


def root_ca(certificate: str) -> Wanted:
    """The ConfigMap from which pods learn to trust the API server."""
    data = {"ca.crt": certificate}

    def build() -> Object:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": _ROOT_CA, "annotations": {"kubernetes.io/description": _DESCRIPTION}},
            "data": data,
        }

    def amend(found: Object) -> Object | None:
        annotations = found["metadata"].get("annotations") or {}
        if found.get("data") == data and annotations.get("kubernetes.io/description"):
            return None
        metadata = {
            **found["metadata"],
            "annotations": {**annotations, "kubernetes.io/description": _DESCRIPTION},
        }
        return {**found, "metadata": metadata, "data": data}

    return Wanted(CONFIG_MAPS, _ROOT_CA, build, amend)


class PerNamespace:
    """Keeps one Wanted in every namespace."""

    def __init__(self, api: ClusterApi, clock: Clock, wanted: Wanted) -> None:
        self._api = api
        self._wanted = wanted
        self._namespaces: Informer | None = None
        self._objects: Informer | None = None
        self.loop: Loop[str] = Loop(f"{wanted.resource.resource} {wanted.name}", clock, self._reconcile)

    def watch(self, informers: InformerSet) -> None:
        selector = f"metadata.name={self._wanted.name}"
        self._objects = informers.separate(self._wanted.resource, field_selector=selector)
        self._namespaces = informers.informer(NAMESPACES)
        self._objects.add_handler(self._on_object)
        self._namespaces.add_handler(self._on_namespace)

    def _on_namespace(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self.loop.queue.add(new["metadata"]["name"])

    def _on_object(self, old: Object | None, new: Object | None) -> None:
        changed = new if new is not None else old
        assert changed is not None
        self.loop.queue.add(namespace_of(changed))

    async def _reconcile(self, namespace: str) -> float | None:
        assert self._namespaces is not None
        assert self._objects is not None
        # The first list tells which namespaces have theirs already.
        await self._objects.synced.wait()
        found = self._namespaces.get(namespace)
        if found is None or found["metadata"].get("deletionTimestamp"):
            return None
        current = self._objects.get(self._wanted.name, namespace)
        try:
            if current is None:
                await self._api.create(self._wanted.resource, self._wanted.build(), namespace=namespace)
            elif (amended := self._wanted.amend(current)) is not None:
                await self._api.update(self._wanted.resource, amended, namespace=namespace)
        except ApiError as error:
            # Made by somebody meanwhile, or the namespace is going away: the watches will tell.
            if error.reason not in ("AlreadyExists", "NotFound") and error.code != 403:
                raise
        return None
