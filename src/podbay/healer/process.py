"""A healer's parts put together for one deployment in one namespace of a cluster that is open."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from podbay.aio.clock import Clock
from podbay.errors import PodbayError
from podbay.healer.airflow_api import AirflowApi, AirflowLogin
from podbay.healer.leader import Leader
from podbay.healer.reconciler import Reconciler
from podbay.healer.rules import Rules
from podbay.healer.sites import Site
from podbay.kube.client import KubeClient
from podbay.kube.lease import LeasedCluster, pods_of
from podbay.pods.identity import with_suffix

__all__ = ["OtherCluster", "leader_of", "reconciler_of"]

_SYNC_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class OtherCluster:
    """One more cluster of the deployment, open."""

    name: str
    cluster: LeasedCluster
    namespace: str


@asynccontextmanager
async def reconciler_of(
    cluster: LeasedCluster,
    namespace: str,
    *,
    rules: Rules,
    login: AirflowLogin,
    clock: Clock,
    others: Sequence[OtherCluster] = (),
    logs: Path | None = None,
) -> AsyncIterator[Reconciler]:
    """Ready for its first round: the pods are listed. Raises what the first cluster says to that.

    Another one may be away at that time; rounds go on without it and say so.
    """
    async with AsyncExitStack() as stack:
        airflow = await stack.enter_async_context(AirflowApi(login, clock))
        store = await stack.enter_async_context(cluster.watch(pods_of(namespace)))
        sites = []
        for other in others:
            found = await stack.enter_async_context(other.cluster.watch(pods_of(other.namespace)))
            sites.append(Site(other.cluster.client, found, other.name, other.namespace))
        await store.wait_synced()
        for site in sites:
            with suppress(PodbayError, TimeoutError):
                await asyncio.wait_for(site.store.wait_synced(), _SYNC_SECONDS)
        config = cluster.client.config
        taken = {site.name for site in sites} | {""}
        name = next(each for each in (config.context, config.server) if each not in taken) if sites else ""
        first = Site(cluster.client, store, name, namespace)
        yield Reconciler(cluster.client, store, airflow, rules, clock, sites=(first, *sites), logs=logs)


def leader_of(client: KubeClient, namespace: str, *, deployment: str, clock: Clock) -> Leader:
    """This process among all healers of the deployment."""
    return Leader(
        client,
        clock,
        namespace=namespace,
        name=with_suffix(f"podbay-healer-{deployment}", ""),
        # Unique for each life: a process that was restarted waits for the lease of the one before it.
        holder=f"{socket.gethostname()}_{os.getpid()}_{os.urandom(4).hex()}",
    )
