"""What every controller shares: a queue of keys, a worker, and what happens when a key fails.

A controller supplies `reconcile(key)`, which looks at the world and brings one thing in order; it may be called any
number of times. Source of the shape: client-go controllers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from podbay.aio.backoff import Backoff
from podbay.aio.clock import Clock
from podbay.aio.workqueue import WorkQueue
from podbay.embedded.events import store_event
from podbay.errors import ApiError
from podbay.objects.api import ClusterApi
from podbay.objects.events import EventType, object_reference, recorded_event
from podbay.objects.meta import Object
from podbay.objects.resource import GVR

__all__ = [
    "CLAIMS",
    "CLUSTER_ROLES",
    "CONFIG_MAPS",
    "NAMESPACES",
    "PODS",
    "QUOTAS",
    "SERVICE_ACCOUNTS",
    "VOLUMES",
    "Loop",
    "Served",
    "find_served",
    "is_terminal",
    "outline_finished",
    "record",
]

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

PODS = GVR("", "v1", "pods")
NAMESPACES = GVR("", "v1", "namespaces")
SERVICE_ACCOUNTS = GVR("", "v1", "serviceaccounts")
CONFIG_MAPS = GVR("", "v1", "configmaps")
QUOTAS = GVR("", "v1", "resourcequotas")
CLAIMS = GVR("", "v1", "persistentvolumeclaims")
VOLUMES = GVR("", "v1", "persistentvolumes")
CLUSTER_ROLES = GVR("rbac.authorization.k8s.io", "v1", "clusterroles")


@dataclass(frozen=True, slots=True)
class Served:
    """A collection the API server serves and controllers may list, watch and delete in."""

    gvr: GVR
    kind: str
    namespaced: bool


class Loop(Generic[K]):
    """A work queue and the worker that empties it.

    `reconcile` returns seconds after which to look at the key again, or None. An ApiError makes the key come back
    after a growing back-off; so does any other error, which is logged as the defect it is.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        reconcile: Callable[[K], Awaitable[float | None]],
        *,
        backoff: Backoff | None = None,
    ) -> None:
        self.name = name
        self.queue: WorkQueue[K] = WorkQueue(
            clock, backoff=backoff or Backoff(initial=0.01, maximum=60.0), name=name
        )
        self._reconcile = reconcile

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                key = await self.queue.get()
                await self._work(key)
                # Reconciling through an in-process API may never suspend; others must get their turn.
                await asyncio.sleep(0)
        finally:
            await self.queue.aclose()

    async def _work(self, key: K) -> None:
        try:
            again = await self._reconcile(key)
        except ApiError as error:
            level = logging.DEBUG if error.code in (404, 409) else logging.WARNING
            log.log(level, "%s: %s: %s", self.name, key, error.message)
            self.queue.add_rate_limited(key)
        except Exception:  # the worker of a controller outlives a defect in one key
            log.exception("%s: %s failed", self.name, key)
            self.queue.add_rate_limited(key)
        else:
            self.queue.forget(key)
            if again is not None:
                self.queue.add_after(key, again)
        finally:
            self.queue.done(key)


def is_terminal(pod: Object) -> bool:
    """The pod's containers have ended for good."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def outline_finished(pod: Object) -> Object:
    """A pod as the control plane holds it: finished ones, which may be thousands, only in outline."""
    pod["metadata"].pop("managedFields", None)
    if not is_terminal(pod):
        return pod
    spec = pod["spec"]
    claims = [v for v in spec.get("volumes") or () if v.get("persistentVolumeClaim") or v.get("ephemeral")]
    kept = {k: spec[k] for k in ("nodeName", "schedulerName") if k in spec}
    if claims:
        kept["volumes"] = claims
    return {**pod, "spec": kept, "status": {"phase": pod["status"]["phase"]}}


async def record(
    api: ClusterApi,
    clock: Clock,
    involved: Object,
    *,
    type: EventType,  # noqa: A002 - the API's own field name
    reason: str,
    message: str,
    component: str,
) -> None:
    """Write an Event about a typed object; one that cannot be stored is dropped."""
    event = recorded_event(
        object_reference(involved),
        type=type,
        reason=reason,
        message=message,
        component=component,
        now=clock.now(),
    )
    try:
        await store_event(api, event)
    except ApiError as error:
        log.debug("event %s dropped: %s", reason, error.message)


def find_served(served: Sequence[Served], api_version: str, kind: str) -> Served | None:
    """The collection of an apiVersion and kind; another version of the same group will do."""
    group = api_version.rpartition("/")[0]
    return next((s for s in served if s.kind == kind and s.gvr.group == group), None)
