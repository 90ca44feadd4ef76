"""Changes of state as the engine tells of them.

An event is only the sign to look: what it led to is read by an inspection, so several quick ones may come as one. The
stream is filtered here by action: engines name actions differently ("die", "died") and Podman's filter misses some.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any, Self

import orjson

from podbay.errors import RuntimeUnavailableError
from podbay.node.engine.api import Engine, Objects, Query
from podbay.node.engine.labels import KIND, NODE
from podbay.node.engine.pods import PodsOnEngine
from podbay.node.engine.status import sandbox_status
from podbay.node.observed import ContainerStatus, SandboxStatus

__all__ = ["EngineEvents"]

_ENDING = frozenset({"die", "died"})
_TELLING = frozenset({"start", "oom", *_ENDING})
"""Actions that change a state; of a removal there is nothing left to tell."""
_SETTLE_PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds between looks at a container that has ended and is not shown so yet."""


class EngineEvents:
    """One subscription; `open` before use."""

    def __init__(self, engine: Engine, pods: PodsOnEngine, node: str) -> None:
        self._engine = engine
        self._pods = pods
        self._node = node
        self._stack = AsyncExitStack()
        self._objects: Objects | None = None
        self._over = False

    async def open(self) -> Self:
        """Returns when nothing that happens from now on is missed."""
        filters = {"type": ["container"], "label": [f"{NODE}={self._node}"]}
        query: Query = {"filters": orjson.dumps(filters).decode()}
        stream = await self._stack.enter_async_context(self._engine.stream("GET", "/events", query=query))
        if stream.status >= 400:
            answer = await stream.answer()
            await self.aclose()
            raise RuntimeUnavailableError(
                f"the container engine at {self._engine.endpoint} gives no events: {answer.message}"
            )
        self._objects = stream.objects()
        # The answer's head is sent just before the subscription is made; one more exchange lets it be done.
        await self._engine.get("/version")
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ContainerStatus | SandboxStatus:
        try:
            while self._objects is not None and not self._over:
                event = await anext(self._objects, None)
                if event is None:
                    raise self._engine.lost(EOFError("the stream of events has ended"))
                found = await self._look(event)
                if found is not None:
                    return found
        except RuntimeUnavailableError:
            if not self._over:
                await self.aclose()
                raise
        raise StopAsyncIteration

    async def _look(self, event: dict[str, Any]) -> ContainerStatus | SandboxStatus | None:
        actor = event.get("Actor") or {}
        kind = (actor.get("Attributes") or {}).get(KIND)
        action = str(event.get("Action", "")).lower()
        if action not in _TELLING or kind not in ("container", "sandbox"):
            return None
        identity = str(actor.get("ID") or event.get("id"))
        found = await self._ended(identity) if action in _ENDING else await self._pods.inspect(identity)
        if found is None:
            return None
        return sandbox_status(found) if kind == "sandbox" else self._pods.status_of(found)

    async def _ended(self, identity: str) -> dict[str, Any] | None:
        """Podman tells of an end a moment before it has written it down, and no other event follows."""
        found = await self._pods.inspect(identity)
        for pause in _SETTLE_PAUSES:
            if found is None or not found["State"]["Running"]:
                break
            await asyncio.sleep(pause)
            found = await self._pods.inspect(identity)
        return found

    async def aclose(self) -> None:
        self._over = True
        if self._objects is not None:
            self._objects.close()
        await self._stack.aclose()
