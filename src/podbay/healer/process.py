"""A healer's parts put together for one deployment in one namespace of a cluster that is open."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from podbay.aio.clock import Clock
from podbay.healer.airflow_api import AirflowApi, AirflowLogin
from podbay.healer.leader import Leader
from podbay.healer.reconciler import Reconciler
from podbay.healer.rules import Rules
from podbay.kube.client import KubeClient
from podbay.kube.lease import LeasedCluster, pods_of
from podbay.pods.identity import with_suffix

__all__ = ["leader_of", "reconciler_of"]


@asynccontextmanager
async def reconciler_of(
    cluster: LeasedCluster, namespace: str, *, rules: Rules, login: AirflowLogin, clock: Clock
) -> AsyncIterator[Reconciler]:
    """Ready for its first round: the pods are listed. Raises what the cluster says to that."""
    async with AirflowApi(login, clock) as airflow, cluster.watch(pods_of(namespace)) as store:
        await store.wait_synced()
        yield Reconciler(cluster.client, store, airflow, rules, clock)


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
