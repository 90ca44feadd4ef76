"""`podbay kill`: exactly the pods that were there when it was asked, and not before they are gone.

Deletes carry the uid: a pod that took the name meanwhile lives on. A pod that stays (a finalizer, a dead node) is told
of when its own grace period and some patience are over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from podbay.cli.cluster_words import in_words
from podbay.cli.progress import Progress
from podbay.cli.rows import main_container_name, pod_json, status_of
from podbay.cli.target import connect, find_pod
from podbay.errors import ApiError, PodbayError, StateError
from podbay.kube.client import PODS
from podbay.kube.config import ClusterConfig
from podbay.kube.lease import LeasedCluster
from podbay.kube.store import Subscription
from podbay.kube.watch import Scope
from podbay.lifecycle.view import view_of
from podbay.objects.meta import Object, metadata_of, name_of, namespace_of, uid_of

__all__ = ["Ended", "kill_pods"]

PATIENCE_SECONDS = 60.0
"""After the pod's own grace period: a kubelet cleans up, a slow one for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What became of one pod."""

    namespace: str
    name: str
    before: Object = field(default_factory=dict)
    after: Object = field(default_factory=dict)
    """The last state that was seen."""
    error: PodbayError | None = None

    def sentence(self) -> str:
        """What a person reads."""
        after = view_of(self.after, main_container_name(self.after))
        code = after.main.exit_code if after.main is not None else None
        ran = view_of(self.before, main_container_name(self.before)).stage == "running"
        how = f"; its container ended with exit code {code}" if ran and code is not None else ""
        return f"pod {self.namespace}/{self.name} is gone (it was: {status_of(self.before)}{how})"

    def to_json(self) -> dict[str, Any]:
        pod = pod_json(self.after or self.before) if self.before else None
        error = str(self.error) if self.error is not None else None
        return {
            "namespace": self.namespace,
            "name": self.name,
            "gone": self.error is None,
            "was": status_of(self.before) if self.before else None,
            "pod": pod,
            "error": error,
        }


async def kill_pods(
    config: ClusterConfig,
    pods: Sequence[tuple[str, str]],
    *,
    now: bool,
    patience_seconds: float = PATIENCE_SECONDS,
) -> list[Ended]:
    """End the pods (namespace, name) side by side; errors of one do not keep the others."""
    async with connect(config) as cluster:
        killer = _Killer(cluster, now=now, patience_seconds=patience_seconds)
        return await asyncio.gather(*(killer.kill(*each) for each in dict.fromkeys(pods)))


class _Killer:
    def __init__(self, cluster: LeasedCluster, *, now: bool, patience_seconds: float) -> None:
        self._cluster = cluster
        self._patience = patience_seconds
        self._now = now
        self._waiting: set[str] = set()
        self._progress = Progress(plain=False)

    async def kill(self, namespace: str, name: str) -> Ended:
        before: Object = {}
        key = f"{namespace}/{name}"
        try:
            before = await find_pod(self._cluster.client, namespace, name)
            after = await self._end(key, before)
        except PodbayError as err:
            error = in_words(err, self._cluster.client.config)
            return Ended(namespace=namespace, name=name, before=before, error=error)
        finally:
            self._waiting.discard(key)
            self._show()
        return Ended(namespace=namespace, name=name, before=before, after=after)

    async def _end(self, key: str, before: Object) -> Object:
        namespace, name = namespace_of(before), name_of(before)
        scope = Scope(resource=PODS, namespace=namespace, field_selector=f"metadata.name={name}")
        options: dict[str, Any] = {"preconditions": {"uid": uid_of(before)}}
        if self._now:
            options["gracePeriodSeconds"] = 1
        async with (
            self._cluster.watch(scope) as store,
            store.subscribe(namespace, name, known=before) as changes,
        ):
            await store.wait_synced()
            try:
                answer = await self._cluster.client.delete(PODS, name, namespace=namespace, options=options)
            except ApiError as err:
                # Gone already, or another pod has its name.
                if err.code in (404, 409):
                    return before
                raise
            self._waiting.add(key)
            self._show()
            grace = float(metadata_of(answer).get("deletionGracePeriodSeconds") or 0)
            return await _until_gone(changes, key, before, grace + self._patience)

    def _show(self) -> None:
        if self._waiting:
            self._progress.show(f"Waiting for the end of {', '.join(sorted(self._waiting))}")
        else:
            self._progress.clear()


async def _until_gone(changes: Subscription, key: str, last: Object, seconds: float) -> Object:
    """The last state before it was gone. Raises StateError when it stays."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                change = await changes.next()
                last = change.object or last
                if change.type == "DELETED":
                    return last
    except TimeoutError:
        raise StateError(_stays(key, last, seconds)) from None


def _stays(key: str, pod: Object, seconds: float) -> str:
    finalizers = metadata_of(pod).get("finalizers") or ()
    why = (
        f"its finalizers wait for somebody: {', '.join(finalizers)}"
        if finalizers
        else f"its node {(pod.get('spec') or {}).get('nodeName') or '(none)'} does not end it"
    )
    return f"pod {key} is being deleted and still there after {seconds:.0f} seconds: {why}"
