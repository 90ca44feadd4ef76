"""The cluster side of one run: its pods as they change, and their end when the run is cut short."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from podbay.errors import ApiError, PodbayError
from podbay.kube.client import PODS, KubeClient
from podbay.kube.config import ClusterConfig
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.kube.lease import DeskOptions, LeaseDesk, pods_of
from podbay.kube.retry import Patience
from podbay.kube.store import Change, SharedStore
from podbay.objects.meta import Object, name_of, namespace_of, uid_of

__all__ = ["RunCluster", "delete_left", "open_run_cluster"]

FIRST_ANSWER_SECONDS = 10.0
"""A person waits; by then an address that does not answer is likelier to be wrong than slow."""
GONE_SECONDS = 45.0
"""For deleted pods to be gone: Kubernetes gives 30 s of grace unless the pod says otherwise."""
_LOOK_SECONDS = 0.1


class RunCluster:
    """One cluster and the pods of one run in it."""

    def __init__(self, client: KubeClient, store: SharedStore) -> None:
        self.client = client
        self._store = store

    async def delete(self, *, keep: Collection[str] = (), grace: int | None = None) -> None:
        """Ask for the end of the run's pods, but for those that have ended and whose uid is in keep."""
        options = {} if grace is None else {"gracePeriodSeconds": grace}
        for pod in self._store.objects():
            if uid_of(pod) in keep and _has_ended(pod):
                continue
            with contextlib.suppress(ApiError):
                await self.client.delete(
                    PODS,
                    name_of(pod),
                    namespace=namespace_of(pod),
                    options={**options, "preconditions": {"uid": uid_of(pod)}},
                )

    def ending(self) -> int:
        """How many pods of the run are being deleted."""
        return sum(bool((p.get("metadata") or {}).get("deletionTimestamp")) for p in self._store.objects())

    async def settle(self) -> None:
        """Wait until no pod is being deleted any more, or there is no point in waiting."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GONE_SECONDS):
                while self.ending() and self._store.trouble_now is None:  # noqa: ASYNC110 - two conditions
                    await asyncio.sleep(_LOOK_SECONDS)


def _has_ended(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


@asynccontextmanager
async def open_run_cluster(
    config: ClusterConfig, run_id: str, hear: Callable[[Object], None]
) -> AsyncIterator[RunCluster]:
    """Watch the run's pods in all namespaces, or in the context's own without the right to see all.

    Raises PodbayError when the cluster does not answer or refuses.
    """
    # Ours and upstream's operator both write this label.
    selector = f"run_id={run_id}"
    patience = Patience(before_first_answer=FIRST_ANSWER_SECONDS)
    desk = LeaseDesk(DeskOptions(linger_seconds=0.0, agent="podbay-run", patience=patience))
    async with desk.lease(config) as cluster:
        namespace = await _visible(cluster.client, config.namespace, selector)
        async with cluster.watch(pods_of(namespace, selector)) as store:
            await store.wait_synced()
            store.listen(lambda change: _pass_on(change, hear))
            yield RunCluster(cluster.client, store)


async def delete_left(kubeconfig: Path, run_id: str) -> None:
    """Delete the pods of a run that nobody looks after any more; what cannot be is left to the healer."""
    with contextlib.suppress(PodbayError):
        async with open_run_cluster(load_kubeconfig(kubeconfig), run_id, lambda _: None) as cluster:
            await cluster.delete()


def _pass_on(change: Change, hear: Callable[[Object], None]) -> None:
    if change.object is not None:
        hear(change.object)


async def _visible(client: KubeClient, namespace: str, selector: str) -> str | None:
    try:
        await client.list(PODS, label_selector=selector)
    except ApiError as err:
        if err.code != 403:
            raise
        await client.list(PODS, namespace=namespace, label_selector=selector)
        return namespace
    return None
