"""ResourceQuota status: what a namespace really uses, after objects went away or a quota changed.

Admission raises usage when objects come; this lowers it when they go, and corrects it every five minutes.
Source: pkg/controller/resourcequota. What an object costs is apiserver.quota.
"""

from __future__ import annotations

from collections.abc import Sequence

from podbay.aio.clock import Clock
from podbay.aio.informer import Informer, InformerSet, object_key
from podbay.apiserver.quota.evaluators import calculate, matching_resources
from podbay.apiserver.quota.lists import print_list
from podbay.embedded.controllers.base import PODS, QUOTAS, Loop, Served, is_terminal
from podbay.errors import ApiError
from podbay.objects.api import ClusterApi
from podbay.objects.meta import Object, namespace_of
from podbay.objects.quantity import Quantity

__all__ = ["QuotaController"]

_RESYNC_SECONDS = 300.0
"""--resource-quota-sync-period of kube-controller-manager."""
_PAUSE_FACTOR = 5.0
"""Counting a namespace may take at most one sixth of the time when thousands of pods finish."""


class QuotaController:
    """Keeps status.hard and status.used of every quota."""

    def __init__(self, api: ClusterApi, clock: Clock, served: Sequence[Served]) -> None:
        self._api = api
        self._clock = clock
        self._served = [s for s in served if s.namespaced and s.gvr.resource != "events"]
        self._quotas: Informer | None = None
        self._pause: dict[str, float] = {}
        self.loop: Loop[str] = Loop("resource quota", clock, self._reconcile)

    def watch(self, informers: InformerSet) -> None:
        self._quotas = informers.informer(QUOTAS)
        self._quotas.add_index("namespace", lambda quota: [namespace_of(quota)])
        self._quotas.add_handler(self._on_quota)
        for served in self._served:
            handler = self._on_pod if served.gvr == PODS else self._on_object
            informers.metadata(served.gvr).add_handler(handler)

    def _on_quota(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            self._pause.pop(object_key(old or {}), None)
            return
        if old is None or old.get("spec") != new.get("spec") or not (new.get("status") or {}).get("hard"):
            self.loop.queue.add(object_key(new))

    def _on_object(self, old: Object | None, new: Object | None) -> None:
        if new is None and old is not None:
            self._replenish(namespace_of(old))

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        if old is None:
            return
        if new is None or (is_terminal(new) and not is_terminal(old)):
            self._replenish(namespace_of(old))

    def _replenish(self, namespace: str) -> None:
        assert self._quotas is not None
        for quota in self._quotas.by_index("namespace", namespace):
            key = object_key(quota)
            self.loop.queue.add_after(key, self._pause.get(key, 0.0))

    async def _reconcile(self, key: str) -> float | None:
        namespace, _, name = key.partition("/")
        started = self._clock.monotonic()
        try:
            # Read live, quota first: admission may be charging it at this moment, and the update below carries
            # this version.
            quota = await self._api.get(QUOTAS, name, namespace=namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        hard = (quota.get("spec") or {}).get("hard") or {}
        objects = {
            str(s.gvr.group_resource): (await self._api.list(s.gvr, namespace=namespace)).items
            for s in self._served
            if matching_resources(str(s.gvr.group_resource), hard)
        }
        used = print_list(calculate(quota, objects, now=self._clock.now()))
        self._pause[key] = (self._clock.monotonic() - started) * _PAUSE_FACTOR
        status = quota.get("status") or {}
        if _differs(status.get("hard"), hard) or _differs(status.get("used"), used):
            quota["status"] = {"hard": hard, "used": used}
            await self._api.update(QUOTAS, quota, namespace=namespace, subresource="status")
        return _RESYNC_SECONDS


def _differs(old: dict[str, str] | None, new: dict[str, str]) -> bool:
    old = old or {}
    return old.keys() != new.keys() or any(
        Quantity.from_json(old[name]) != Quantity.from_json(new[name]) for name in new
    )
