"""Holds: an annotation on a pod until when the healer leaves it alone. It ends by itself, as times do."""

from __future__ import annotations

from datetime import datetime

from podbay.kube.client import PODS, KubeClient
from podbay.lifecycle.hold import HELD_UNTIL, hold_end
from podbay.objects.meta import Object, name_of, namespace_of, uid_of

__all__ = ["hold", "release"]


async def hold(client: KubeClient, pod: Object, now: datetime, seconds: float) -> str:
    """Hold exactly this pod; gives until when. Raises ApiError, UnreachableError."""
    until = hold_end(now, seconds)
    await _annotate(client, pod, until)
    return until


async def release(client: KubeClient, pod: Object) -> None:
    """End the hold now. Raises ApiError, UnreachableError."""
    await _annotate(client, pod, None)


async def _annotate(client: KubeClient, pod: Object, until: str | None) -> None:
    # With its uid, so that a pod that has taken the name meanwhile is not held.
    patch = {"metadata": {"uid": uid_of(pod), "annotations": {HELD_UNTIL: until}}}
    await client.patch(PODS, name_of(pod), patch, namespace=namespace_of(pod))
