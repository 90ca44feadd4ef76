"""The lease desk: whoever needs a cluster gets the client, watches and log slots that others of the process use too.

    async with lease(config) as cluster:
        async with cluster.watch(pods_of("team-a")) as store:
            ...

One desk for each event loop (connections belong to a loop), one cluster on it for each configuration, one watch for
each scope; all counted, opened on first use and closed after the last, with a little patience for the next user.
"""

from __future__ import annotations

import asyncio
import random
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from podbay.aio.clock import Clock, SystemClock
from podbay.aio.shared import Shared
from podbay.aio.tasks import TaskGroup
from podbay.errors import PodbayError, UnreachableError
from podbay.kube.client import PODS, KubeClient
from podbay.kube.config import ClusterConfig
from podbay.kube.log_slots import LogSlots
from podbay.kube.looks import Looks
from podbay.kube.retry import Patience
from podbay.kube.store import SharedStore
from podbay.kube.watch import Scope, keep_watching

__all__ = ["DeskOptions", "LeaseDesk", "LeasedCluster", "lease", "pods_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskOptions:
    """How clusters are opened."""

    clock: Clock = field(default_factory=SystemClock)
    linger_seconds: float = 30.0
    """Tasks of a DAG follow each other within seconds; opening costs a TLS handshake and a list."""
    agent: str = "podbay"
    patience: Patience = field(default_factory=Patience)
    log_streams: int = 0
    """Logs followed at once; 0 takes what the limit on open files allows."""


def pods_of(namespace: str | None, label_selector: str = "") -> Scope:
    """The scope of a namespace's pods (None: of all)."""
    return Scope(resource=PODS, namespace=namespace, label_selector=label_selector)


class LeasedCluster:
    """What a lease gives: valid inside its block."""

    def __init__(self, client: KubeClient, slots: LogSlots, options: DeskOptions) -> None:
        self.client = client
        self.log_slots = slots
        self.looks = Looks(client, options.clock)
        self._options = options
        self._watches: dict[Scope, Shared[SharedStore]] = {}

    def watch(self, scope: Scope) -> AbstractAsyncContextManager[SharedStore]:
        """The store of a scope; it may not be synced yet (`store.wait_synced`)."""
        shared = self._watches.get(scope)
        if shared is None:
            shared = self._watches[scope] = Shared(
                f"watch/{scope.resource.resource}/{scope.namespace or '*'}",
                lambda: self._open_watch(scope),
                linger_seconds=self._options.linger_seconds,
                on_closed=lambda: self._forget(scope),
            )
        return shared.lease()

    def _forget(self, scope: Scope) -> None:
        if scope in self._watches and self._watches[scope].users == 0:
            del self._watches[scope]

    @asynccontextmanager
    async def _open_watch(self, scope: Scope) -> AsyncIterator[SharedStore]:
        store = SharedStore()
        store.on_trouble(self._distrust_logs)
        rng = random.Random()
        feeding = keep_watching(self.client, scope, store, self._options.clock, rng)
        try:
            async with TaskGroup(f"watch/{scope.resource.resource}/{scope.namespace or '*'}") as group:
                group.start("feed", feeding)
                yield store
        finally:
            store.close()

    def _distrust_logs(self, error: PodbayError) -> None:
        # A log may be silent for hours, so only the watch tells that the network swallows what is sent.
        if isinstance(error, UnreachableError) and error.kind == "silent":
            self.log_slots.reconnect_all()

    async def aclose(self) -> None:
        for shared in list(self._watches.values()):
            await shared.aclose()


class LeaseDesk:
    """The clusters that one event loop uses. Not shared between loops."""

    def __init__(self, options: DeskOptions | None = None) -> None:
        self.options = options or DeskOptions()
        self._clusters: dict[ClusterConfig, Shared[LeasedCluster]] = {}

    def lease(self, config: ClusterConfig) -> AbstractAsyncContextManager[LeasedCluster]:
        """The cluster of a configuration. Opening sends nothing; the first request does."""
        shared = self._clusters.get(config)
        if shared is None:
            shared = self._clusters[config] = Shared(
                f"cluster/{config.server}",
                lambda: self._open(config),
                linger_seconds=self.options.linger_seconds,
                on_closed=lambda: self._forget(config),
            )
        return shared.lease()

    def _forget(self, config: ClusterConfig) -> None:
        if config in self._clusters and self._clusters[config].users == 0:
            del self._clusters[config]

    @asynccontextmanager
    async def _open(self, config: ClusterConfig) -> AsyncIterator[LeasedCluster]:
        options = self.options
        client = KubeClient(config, options.clock, agent=options.agent, patience=options.patience)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(client)
            slots = LogSlots(options.clock, streams=options.log_streams or None)
            cluster = LeasedCluster(client, slots, options)
            stack.push_async_callback(cluster.aclose)
            yield cluster

    async def aclose(self) -> None:
        """Close everything now, for the end of a process."""
        for shared in list(self._clusters.values()):
            await shared.aclose()


_DESKS: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LeaseDesk] = weakref.WeakKeyDictionary()


def desk(make: Callable[[], LeaseDesk] = LeaseDesk) -> LeaseDesk:
    """The running event loop's desk."""
    loop = asyncio.get_running_loop()
    found = _DESKS.get(loop)
    if found is None:
        found = _DESKS[loop] = make()
    return found


def lease(config: ClusterConfig) -> AbstractAsyncContextManager[LeasedCluster]:
    """A cluster from the running event loop's desk."""
    return desk().lease(config)
