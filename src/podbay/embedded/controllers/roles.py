"""Cluster role aggregation: keeps the rules of `admin`, `edit`, `view` and users' own aggregated roles current.

Source: pkg/controller/clusterroleaggregation. The union itself is apiserver.auth.aggregate.
"""

from __future__ import annotations

from podbay.aio.clock import Clock
from podbay.aio.informer import Informer, InformerSet
from podbay.apiserver.auth.aggregate import aggregate
from podbay.embedded.controllers.base import CLUSTER_ROLES, Loop
from podbay.objects.api import ClusterApi
from podbay.objects.meta import Object

__all__ = ["ClusterRoleAggregation"]


class ClusterRoleAggregation:
    """One key stands for all roles: they settle together."""

    def __init__(self, api: ClusterApi, clock: Clock) -> None:
        self._api = api
        self._roles: Informer | None = None
        self.loop: Loop[str] = Loop("cluster role aggregation", clock, self._reconcile)

    def watch(self, informers: InformerSet) -> None:
        self._roles = informers.informer(CLUSTER_ROLES)
        self._roles.add_handler(self._on_role)

    def _on_role(self, old: Object | None, new: Object | None) -> None:
        self.loop.queue.add("all")

    async def _reconcile(self, key: str) -> float | None:
        assert self._roles is not None
        await self._roles.synced.wait()
        for role in aggregate(self._roles.store.values()):
            await self._api.update(CLUSTER_ROLES, role)
        return None
