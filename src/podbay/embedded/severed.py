"""A node's way to the API that can be cut and mended: how a cluster loses a node on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from podbay.aio.race import cancel_all
from podbay.errors import ApiError
from podbay.objects.api import ClusterApi, ObjectList, PatchType, WatchEvent
from podbay.objects.meta import Object
from podbay.objects.resource import GVR

__all__ = ["SeverableApi"]


class SeverableApi:
    """A ClusterApi in front of another one. While cut, every call fails as with no network and watches end."""

    def __init__(self, inner: ClusterApi) -> None:
        self._inner = inner
        self._cut = asyncio.Event()

    @property
    def cut(self) -> bool:
        return self._cut.is_set()

    def sever(self) -> None:
        self._cut.set()

    def mend(self) -> None:
        self._cut.clear()

    def _check(self) -> None:
        if self._cut.is_set():
            raise ApiError(503, "ServiceUnavailable", "the node is cut off from the API server by a fault")

    async def get(
        self, resource: GVR, name: str, *, namespace: str | None = None, subresource: str | None = None
    ) -> Object:
        self._check()
        return await self._inner.get(resource, name, namespace=namespace, subresource=subresource)

    async def list(
        self,
        resource: GVR,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
    ) -> ObjectList:
        self._check()
        return await self._inner.list(
            resource, namespace=namespace, label_selector=label_selector, field_selector=field_selector
        )

    async def watch(
        self,
        resource: GVR,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str | None = None,
    ) -> AsyncIterator[WatchEvent]:
        self._check()
        events = self._inner.watch(
            resource,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            resource_version=resource_version,
        )
        cut = asyncio.ensure_future(self._cut.wait())
        step: asyncio.Future[WatchEvent | None] | None = None
        try:
            while True:
                step = asyncio.ensure_future(anext(events, None))
                await asyncio.wait((step, cut), return_when=asyncio.FIRST_COMPLETED)
                if self._cut.is_set():
                    return
                event = step.result()
                if event is None:
                    return
                yield event
        finally:
            # The inner watch may be closed only once its step has ended.
            await cancel_all([f for f in (step, cut) if f is not None])
            closing = getattr(events, "aclose", None)
            if closing is not None:
                await closing()

    async def create(
        self,
        resource: GVR,
        obj: Object,
        *,
        namespace: str | None = None,
        name: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        self._check()
        return await self._inner.create(
            resource, obj, namespace=namespace, name=name, subresource=subresource
        )

    async def update(
        self, resource: GVR, obj: Object, *, namespace: str | None = None, subresource: str | None = None
    ) -> Object:
        self._check()
        return await self._inner.update(resource, obj, namespace=namespace, subresource=subresource)

    async def patch(
        self,
        resource: GVR,
        name: str,
        patch: Any,
        *,
        namespace: str | None = None,
        subresource: str | None = None,
        patch_type: PatchType = "merge",
        field_manager: str | None = None,
        force: bool = False,
    ) -> Object:
        self._check()
        return await self._inner.patch(
            resource,
            name,
            patch,
            namespace=namespace,
            subresource=subresource,
            patch_type=patch_type,
            field_manager=field_manager,
            force=force,
        )

    async def delete(
        self,
        resource: GVR,
        name: str,
        *,
        namespace: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Object:
        self._check()
        return await self._inner.delete(resource, name, namespace=namespace, options=options)
