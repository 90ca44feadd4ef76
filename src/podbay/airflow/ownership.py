"""Which life of a task's trigger a pod belongs to (airflow.md T6).

A triggerer that stalls loses its triggers to another one, and when it wakes up it runs their `on_kill`. So every life has
a token, the pod says whose it is, and whoever takes a pod over writes his own: an earlier life then deletes nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

from podbay.errors import ApiError, PodbayError
from podbay.kube.client import PODS
from podbay.kube.lease import LeasedCluster, pods_of
from podbay.kube.store import SharedStore
from podbay.lifecycle.hold import KEEP, held_until, is_checked
from podbay.objects.meta import Object, annotations_of, metadata_of, name_of, namespace_of, uid_of
from podbay.pods.identity import (
    DEPLOYMENT_LABEL,
    TaskIdentity,
    identity_of,
    safe_label_value,
)

__all__ = [
    "OWNER_ANNOTATION",
    "claim",
    "delete_left",
    "delete_own_pods",
    "delete_tries",
    "earlier_try",
    "here",
    "others_on",
    "owner_of",
    "pods_of_task",
]

OWNER_ANNOTATION: Final = "podbay.dev/owner"
_ENDED: Final = ("Succeeded", "Failed")


Synced = Callable[[SharedStore], Awaitable[None]]

_HERE: Final[set[str]] = set()
"""Tokens of the lives in this process; their pods are counted by the limiter itself."""


@contextlib.asynccontextmanager
async def others_on(
    cluster: LeasedCluster, namespace: str, deployment: str
) -> AsyncIterator[Callable[[tuple[str, ...]], int]]:
    """Counts the running pods of other processes by a limit's scope (limits.py)."""
    label = f"{DEPLOYMENT_LABEL}={safe_label_value(deployment)}"
    async with cluster.watch(pods_of(namespace, label)) as store:
        yield lambda scope: sum(_counts(scope, pod) for pod in store.objects())


def _counts(scope: tuple[str, ...], pod: Object) -> bool:
    found = identity_of(pod)
    if found is None or _is_over(pod) or owner_of(pod) in _HERE:
        return False
    return scope in (
        ("dag run", found.dag_id, found.run_id),
        ("task", found.dag_id, found.task_id),
        ("task run", found.dag_id, found.run_id, found.task_id),
    )


def owner_of(pod: Object) -> str:
    return annotations_of(pod).get(OWNER_ANNOTATION, "")


@contextlib.contextmanager
def here(owner: str) -> Iterator[None]:
    """A life goes on in this process, inside the block."""
    _HERE.add(owner)
    try:
        yield
    finally:
        _HERE.discard(owner)


async def pods_of_task(
    cluster: LeasedCluster, namespace: str, identity: TaskIdentity, synced: Synced | None = None
) -> list[Object]:
    """The pods of all tries of a task instance, as the shared watch knows them; no request of its own. `synced` waits for
    that watch, else for good."""
    label = f"{DEPLOYMENT_LABEL}={safe_label_value(identity.deployment)}"
    async with cluster.watch(pods_of(namespace, label)) as store:
        await (store.wait_synced() if synced is None else synced(store))
        return [pod for pod in store.objects() if _is_of(identity, pod)]


def _is_of(identity: TaskIdentity, pod: Object) -> bool:
    found = identity_of(pod)
    if found is None:
        return False
    return replace(found, try_number=identity.try_number, incarnation=identity.incarnation) == identity


def earlier_try(pods: Iterable[Object], identity: TaskIdentity, *, after: int = 0) -> TaskIdentity | None:
    """The try before this one, and later than `after`, whose pod still runs and may be taken over (upstream: durable);
    the newest of several."""
    found = []
    for pod in pods:
        own = identity_of(pod)
        if own is None or not after < own.try_number < identity.try_number or _is_over(pod):
            continue
        found.append(own)
    newest = max(found, key=lambda each: (each.try_number, each.incarnation), default=None)
    return None if newest is None else replace(newest, incarnation=0)


async def delete_tries(
    cluster: LeasedCluster, pods: Iterable[Object], *, upto: int, grace: float | None
) -> list[str]:
    """Delete the running pods of tries up to that number, whoever owns them, and say which. Raises ApiError,
    UnreachableError."""
    deleted = []
    for pod in pods:
        own = identity_of(pod)
        if own is None or own.try_number > upto or _is_over(pod):
            continue
        if await _delete_whole(cluster, pod, {} if grace is None else {"gracePeriodSeconds": int(grace)}):
            deleted.append(name_of(pod))
    return deleted


async def delete_left(cluster: LeasedCluster, pods: Iterable[Object], *, before: int) -> list[str]:
    """Delete the ended pods of tries before that number that no life has marked as kept: the life that was to delete
    them is lost. Says which. Raises ApiError, UnreachableError."""
    deleted = []
    for pod in pods:
        own = identity_of(pod)
        if own is None or own.try_number >= before or not _is_left(pod):
            continue
        if await _delete_whole(cluster, pod, {}):
            deleted.append(name_of(pod))
    return deleted


def _is_left(pod: Object) -> bool:
    return (
        (pod.get("status") or {}).get("phase") in _ENDED
        and "deletionTimestamp" not in metadata_of(pod)
        and not is_checked(pod)
        and annotations_of(pod).get(KEEP, "").lower() != "true"
        and not held_until(pod)
    )


async def _delete_whole(cluster: LeasedCluster, pod: Object, options: dict[str, object]) -> bool:
    """Whether this very pod was still there to be deleted."""
    asked = {"preconditions": {"uid": uid_of(pod)}, **options}
    try:
        await cluster.client.delete(PODS, name_of(pod), namespace=namespace_of(pod), options=asked)
    except ApiError as error:
        if error.code not in (404, 409):
            raise
        return False
    return True


def _is_over(pod: Object) -> bool:
    phase = (pod.get("status") or {}).get("phase")
    return phase in _ENDED or "deletionTimestamp" in metadata_of(pod) or is_checked(pod)


async def claim(cluster: LeasedCluster, pods: Iterable[Object], owner: str) -> None:
    """Write the token on pods that an earlier life has made. Raises ApiError, UnreachableError."""
    for pod in pods:
        if owner_of(pod) == owner or _is_over(pod):
            continue
        patch = {"metadata": {"uid": uid_of(pod), "annotations": {OWNER_ANNOTATION: owner}}}
        try:
            await cluster.client.patch(PODS, name_of(pod), patch, namespace=namespace_of(pod))
        except ApiError as error:
            if error.code not in (404, 409):
                raise


async def delete_own_pods(
    cluster: LeasedCluster,
    namespace: str,
    names: Iterable[str],
    owner: str,
    grace: float | None,
    *,
    others: bool = False,
    ended: bool = True,
) -> list[str]:
    """Delete those of these pods that this life owns, and say which. What belongs to another life stays, or with `others`
    what of it has ended; without `ended` all that has ended.

    Raises the first error of the cluster, after all have been tried.
    """

    def wanted(pod: Object) -> bool:
        if _is_over(pod):
            return ended and owner_of(pod) == owner
        return others or owner_of(pod) == owner

    deleted = []
    error: PodbayError | None = None
    for name in names:
        try:
            pod = await cluster.client.get(PODS, name, namespace=namespace)
            if wanted(pod) and await _delete(cluster, pod, wanted, grace):
                deleted.append(name)
        except ApiError as err:
            if err.code != 404:
                error = error or err
        except PodbayError as err:
            error = error or err
    if error is not None:
        raise error
    return deleted


async def _delete(
    cluster: LeasedCluster, pod: Object, wanted: Callable[[Object], bool], grace: float | None
) -> bool:
    """The version makes sure that nobody has claimed the pod since it was looked at; its status changes all the time."""
    uid, name, namespace = uid_of(pod), name_of(pod), namespace_of(pod)
    while True:
        version = metadata_of(pod).get("resourceVersion")
        options: dict[str, object] = {"preconditions": {"uid": uid, "resourceVersion": version}}
        if grace is not None:
            options["gracePeriodSeconds"] = int(grace)
        try:
            await cluster.client.delete(PODS, name, namespace=namespace, options=options)
            return True
        except ApiError as error:
            if error.code != 409:
                raise
        pod = await cluster.client.get(PODS, name, namespace=namespace)
        if uid_of(pod) != uid or not wanted(pod):
            return False
