"""Storing an Event under a name that is free.

Building Events is objects.events; whether a lost one matters is the caller's decision.
"""

from __future__ import annotations

from podbay.errors import ApiError
from podbay.objects.api import ClusterApi
from podbay.objects.events import EVENTS, renamed
from podbay.objects.meta import Object

__all__ = ["store_event"]

_TRIES = 8
"""Events of one object in one microsecond; more than that happens only when time stands still."""


async def store_event(api: ClusterApi, event: Object) -> str:
    """Create the Event; its name. Raises ApiError (its namespace may be going away)."""
    for _ in range(_TRIES - 1):
        try:
            await api.create(EVENTS, event, namespace=event["metadata"]["namespace"])
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            event = renamed(event)
        else:
            return str(event["metadata"]["name"])
    await api.create(EVENTS, event, namespace=event["metadata"]["namespace"])
    return str(event["metadata"]["name"])
