"""Ending a pod for the cluster's sake: the DisruptionTarget condition, then the delete.

Shared by pod garbage collection and taint eviction. Source: pkg/controller/{podgc,tainteviction}.
"""

from __future__ import annotations

from typing import Any

from podbay.aio.clock import Clock
from podbay.embedded.controllers.base import PODS, is_terminal
from podbay.embedded.scheduler.conditions import with_condition
from podbay.errors import ApiError
from podbay.objects.api import ClusterApi
from podbay.objects.meta import Object, name_of, namespace_of, uid_of

__all__ = ["delete_pod", "disrupt"]


async def disrupt(
    api: ClusterApi, clock: Clock, pod: Object, *, reason: str, message: str, fail: bool = False
) -> None:
    """Say why the pod is ended; with fail, also that it has failed (nobody is left to report it)."""
    status: dict[str, Any] = {}
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    conditions = with_condition(pod, condition, clock.now())
    if conditions is not None:
        status["conditions"] = conditions
    if fail and not is_terminal(pod):
        status["phase"] = "Failed"
    if status:
        await api.patch(
            PODS, name_of(pod), {"status": status}, namespace=namespace_of(pod), subresource="status"
        )


async def delete_pod(api: ClusterApi, pod: Object, *, at_once: bool = False) -> None:
    """Delete this very pod; one that is gone is as good."""
    options: dict[str, Any] = {"preconditions": {"uid": uid_of(pod)}}
    if at_once:
        options["gracePeriodSeconds"] = 0
    try:
        await api.delete(PODS, name_of(pod), namespace=namespace_of(pod), options=options)
    except ApiError as error:
        if error.code not in (404, 409):
            raise
