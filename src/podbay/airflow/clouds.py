"""Clusters of EKS and GKE that connections name, for all tasks of an event loop: asked for once, however many there are.

In the triggerer as on a worker; there is no file that one of them would have to have.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from podbay.airflow.calls import AirflowCalls
from podbay.airflow.connection import CloudPlace, cloud_place
from podbay.aws.place import AwsLogin, EksPlace
from podbay.errors import CredentialError
from podbay.kube.config import ClusterConfig

__all__ = ["cloud_cluster"]

KNOWN_SECONDS: Final = 600.0
"""A cluster that was made anew under the same name has another address; one that stands keeps its own."""


AGAIN_SECONDS: Final = 60.0

log = logging.getLogger(__name__)


@dataclass
class _Known:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    config: ClusterConfig | None = None
    until: float = 0.0


_known: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[CloudPlace, _Known]] = (
    weakref.WeakKeyDictionary()
)


async def cloud_cluster(
    given: Mapping[str, Any], extras: Mapping[str, Any], connection: str | None, calls: AirflowCalls
) -> ClusterConfig | None:
    """The cluster, when the connection means one of EKS or GKE. Raises InvalidInputError and CredentialError."""
    place = cloud_place(given, extras, connection=connection)
    if place is None:
        return None
    known = _known.setdefault(asyncio.get_running_loop(), {}).setdefault(place, _Known())
    async with known.lock:
        if known.config is None or time.monotonic() >= known.until:
            await _renew(known, place, calls)
        assert known.config is not None
        return known.config


async def _renew(known: _Known, place: CloudPlace, calls: AirflowCalls) -> None:
    try:
        known.config = await _ask(place, calls)
        known.until = time.monotonic() + KNOWN_SECONDS
    except CredentialError as err:
        # The cloud's API has its bad minutes, too; a cluster whose address is known needs it for nothing.
        if known.config is None:
            raise
        known.until = time.monotonic() + AGAIN_SECONDS
        log.warning("%s is used by the address it had: %s", place, err)


async def _ask(place: CloudPlace, calls: AirflowCalls) -> ClusterConfig:
    if not isinstance(place, EksPlace):
        from podbay.gke.cluster import gke_config

        return await gke_config(place)
    from podbay.aws.eks import eks_config

    async def login() -> AwsLogin:
        return await calls.aws_login(place.aws_conn_id)

    return await eks_config(place, login if place.aws_conn_id else None)
