"""What a component may ask of a Kubernetes API, whichever cluster answers.

The embedded cluster's controllers, scheduler and node agent are written against this protocol, as real ones
are written against client-go. `apiserver.local` answers it in the same process without a socket.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from podbay.objects.meta import Object
from podbay.objects.resource import GVR

__all__ = ["ClusterApi", "ObjectList", "PatchType", "WatchEvent"]

PatchType: TypeAlias = Literal["json", "merge", "strategic", "apply"]


@dataclass(frozen=True, slots=True)
class ObjectList:
    """The answer to a list: objects and the resourceVersion from which a watch continues without a gap."""

    items: list[Object]
    resource_version: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of a watch: type is ADDED, MODIFIED, DELETED, BOOKMARK or ERROR."""

    type: str
    object: Object


class ClusterApi(Protocol):
    """The verbs of the Kubernetes API. Every method raises `ApiError` with the server's words.

    Objects that come back belong to the caller (they may be changed); objects passed in are not changed.
    """

    async def get(
        self, resource: GVR, name: str, *, namespace: str | None = None, subresource: str | None = None
    ) -> Object: ...

    async def list(
        self,
        resource: GVR,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
    ) -> ObjectList: ...

    def watch(
        self,
        resource: GVR,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str | None = None,
    ) -> AsyncIterator[WatchEvent]:
        """Changes after resource_version; ends when the server ends it. A caller lists again after ERROR 410."""
        ...

    async def create(
        self,
        resource: GVR,
        obj: Object,
        *,
        namespace: str | None = None,
        name: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        """Create obj; name is needed only for subresources (binding, eviction, token)."""
        ...

    async def update(
        self, resource: GVR, obj: Object, *, namespace: str | None = None, subresource: str | None = None
    ) -> Object: ...

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
    ) -> Object: ...

    async def delete(
        self,
        resource: GVR,
        name: str,
        *,
        namespace: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Object:
        """Delete; options is a `DeleteOptions` body (gracePeriodSeconds, preconditions, propagationPolicy)."""
        ...
