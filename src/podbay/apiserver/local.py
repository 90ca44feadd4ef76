"""The API for callers in the same process: the same dispatcher, no socket, no encoding.

Controllers, scheduler and node agent use it as they would use a client of a remote cluster; every rule of the API
(RBAC, admission, validation, conflicts) applies to them as it does over the wire.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from podbay.apiserver import status
from podbay.apiserver.measuring import measure
from podbay.apiserver.request import Request, User
from podbay.apiserver.result import ListResult, MeasuredResult, ObjectResult, VerbResult, WatchResult, shown
from podbay.apiserver.watching import open_watcher
from podbay.errors import StateError
from podbay.objects.api import ObjectList, PatchType, WatchEvent
from podbay.objects.meta import Object, name_of
from podbay.objects.resource import GVR

if TYPE_CHECKING:
    from podbay.apiserver.core import Core
    from podbay.apiserver.dispatch import Dispatcher
    from podbay.apiserver.registry import ResourceType
    from podbay.apiserver.storage import Change

__all__ = ["LocalApi"]

_Query: TypeAlias = dict[str, list[str]]

_PATCH_TYPES: dict[PatchType, str] = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


class LocalApi:
    """A ClusterApi bound to one identity. Cheap to make; holds no resources."""

    def __init__(self, core: Core, dispatcher: Dispatcher, user: User, *, agent: str) -> None:
        self._core, self._dispatcher, self._user = core, dispatcher, user
        self._headers = {"user-agent": agent, "content-type": "application/json"}

    async def get(
        self, resource: GVR, name: str, *, namespace: str | None = None, subresource: str | None = None
    ) -> Object:
        return self._object(await self._read(resource.path(namespace, name, subresource)))

    async def list(
        self,
        resource: GVR,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
    ) -> ObjectList:
        query = _query(labelSelector=label_selector, fieldSelector=field_selector)
        result = await self._read(resource.path(namespace), query)
        assert isinstance(result, ListResult)
        items = [shown(result.type, entry.object()) for entry in result.page.entries]
        return ObjectList(items, str(result.page.version))

    async def watch(
        self,
        resource: GVR,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str | None = None,
    ) -> AsyncIterator[WatchEvent]:
        query = _query(
            labelSelector=label_selector,
            fieldSelector=field_selector,
            resourceVersion=resource_version or "",
            watch="1",
            allowWatchBookmarks="1",
        )
        result = self._call("GET", resource.path(namespace), query=query)
        assert isinstance(result, WatchResult)
        watcher = open_watcher(self._core, result)
        try:
            while True:
                changes = await watcher.changes(None)
                for change in changes:
                    yield _event(change, result.type)
                    if change.type == "ERROR":
                        return
                if not changes and watcher.closed:
                    return
        finally:
            watcher.close()

    async def create(
        self,
        resource: GVR,
        obj: Object,
        *,
        namespace: str | None = None,
        name: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        return self._object(self._call("POST", resource.path(namespace, name, subresource), obj))

    async def update(
        self, resource: GVR, obj: Object, *, namespace: str | None = None, subresource: str | None = None
    ) -> Object:
        return self._object(self._call("PUT", resource.path(namespace, name_of(obj), subresource), obj))

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
        query = _query(fieldManager=field_manager or "", force="true" if force else "")
        headers = {**self._headers, "content-type": _PATCH_TYPES[patch_type]}
        path = resource.path(namespace, name, subresource)
        request = Request("PATCH", path, query=query, headers=headers, body=patch, user=self._user)
        return self._object(self._handle(request))

    async def delete(
        self,
        resource: GVR,
        name: str,
        *,
        namespace: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Object:
        return self._object(self._call("DELETE", resource.path(namespace, name), dict(options or {})))

    async def _read(self, path: str, query: _Query | None = None) -> VerbResult:
        result = self._call("GET", path, query=query)
        return await measure(self._core, result) if isinstance(result, MeasuredResult) else result

    def _call(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        query: _Query | None = None,
    ) -> VerbResult:
        request = Request(method, path, query=query or {}, headers=self._headers, user=self._user)
        if body is not None:
            request.body = body
        return self._handle(request)

    def _handle(self, request: Request) -> VerbResult:
        try:
            return self._dispatcher.handle(request)
        except StateError as err:
            # As over HTTP: nothing was written, and callers, which know API errors, try again or go on.
            raise status.internal_error(str(err)) from err

    @staticmethod
    def _object(result: VerbResult) -> Object:
        if not isinstance(result, ObjectResult):
            raise status.resource_not_found()
        return result.object()


def _query(**parameters: str) -> _Query:
    return {name: [value] for name, value in parameters.items() if value}


def _event(change: Change, resource: ResourceType) -> WatchEvent:
    obj = change.entry.object()
    return WatchEvent(change.type, obj if change.type == "ERROR" else shown(resource, obj))
