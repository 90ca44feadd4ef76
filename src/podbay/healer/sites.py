"""One of the clusters that a healer looks after, and how it is looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from podbay.aio.clock import Clock
from podbay.errors import ApiError
from podbay.healer.rules import Rules
from podbay.healer.world import ClusterAt
from podbay.kube.client import KubeClient
from podbay.kube.store import SharedStore
from podbay.objects.meta import Object, metadata_of, name_of, uid_of
from podbay.objects.resource import GVR
from podbay.pods.identity import DEPLOYMENT_LABEL, safe_label_value
from podbay.registries.pull_secrets import LABEL

__all__ = ["NODES", "SECRETS", "Site", "look_at"]

NODES: Final = GVR("", "v1", "nodes")
SECRETS: Final = GVR("", "v1", "secrets")
LOOK_SECONDS: Final = 30.0
"""After which a cluster counts as away; the pods of others must not wait for it."""


@dataclass(frozen=True, slots=True)
class Site:
    """A cluster that is open, and the watch of its pods."""

    client: KubeClient
    store: SharedStore
    name: str = ""
    """Empty where there is only one."""
    namespace: str = ""
    """In which Secrets are looked at; empty: in none."""


async def look_at(site: Site, clock: Clock, rules: Rules, *, secrets: bool) -> ClusterAt:
    """Its clock, its nodes where they matter, its Secrets where they are wanted. Raises ApiError, UnreachableError."""
    trouble = site.store.trouble_now
    if trouble is not None or not site.store.synced:
        # Nothing is done there in this round, and questions would wait for it.
        return ClusterAt(name=site.name, now=clock.now(), trouble=str(trouble or "not listed yet"))
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            return await _look(site, clock, rules, secrets=secrets)
    except TimeoutError:
        return ClusterAt(name=site.name, now=clock.now(), trouble=f"no answer within {LOOK_SECONDS:.0f} s")


async def _look(site: Site, clock: Clock, rules: Rules, *, secrets: bool) -> ClusterAt:
    now = await _now(site.client, clock)
    needs_nodes = any(_needs_nodes(pod) for pod in site.store.objects())
    return ClusterAt(
        name=site.name,
        now=now,
        nodes=await _nodes(site.client) if needs_nodes else None,
        secrets=await _secrets(site, rules) if secrets and site.namespace else (),
    )


async def _now(client: KubeClient, clock: Clock) -> datetime:
    """The clock that wrote the stamps of the pods."""
    _, date = await client.version()
    try:
        return parsedate_to_datetime(date) if date else clock.now()
    except ValueError:
        return clock.now()


async def _nodes(client: KubeClient) -> frozenset[str] | None:
    try:
        found = await client.list(NODES)
    except ApiError as error:
        if error.code in (401, 403):
            return None
        raise
    return frozenset(name_of(node) for node in found.items)


async def _secrets(site: Site, rules: Rules) -> tuple[Object, ...]:
    """Nothing of them but metadata: the values are nobody's business here."""
    selectors = (f"{DEPLOYMENT_LABEL}={safe_label_value(rules.deployment)}", f"{LABEL}=true")
    found: dict[str, Object] = {}
    try:
        for selector in selectors:
            listed = await site.client.list(
                SECRETS, namespace=site.namespace, label_selector=selector, metadata_only=True
            )
            found |= _by_uid(listed.items)
    except ApiError as error:
        if error.code in (401, 403):
            return ()
        raise
    return tuple(found.values())


def _by_uid(objects: Iterable[Object]) -> dict[str, Object]:
    # A server that does not know how to leave the values out sends them; they are dropped here.
    return {uid_of(each): {"metadata": metadata_of(each)} for each in objects}


def _needs_nodes(pod: dict[str, Any]) -> bool:
    status = pod.get("status")
    phase = status.get("phase") if isinstance(status, dict) else None
    return "deletionTimestamp" in metadata_of(pod) or phase == "Unknown"
