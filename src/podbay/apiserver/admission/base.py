"""The admission contract: plugins that look at a write before it is stored.

Source: k8s.io/apiserver/pkg/admission. Mutating calls run before the strategy, validating calls after it,
both inside the same turn of the event loop as the write itself, so what a plugin read cannot have changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from podbay.apiserver.registry import ResourceType
from podbay.apiserver.request import User
from podbay.objects.meta import Object

__all__ = ["AdmissionPlugin", "Attributes", "ClusterReader"]


class ClusterReader(Protocol):
    """Stored objects as a plugin sees them. `key` is ResourceType.key. Returned objects must not be changed."""

    def get(self, key: str, namespace: str, name: str) -> Object | None: ...

    def list(self, key: str, namespace: str | None = None) -> list[Object]: ...

    def update_status(self, key: str, namespace: str, name: str, status: Object) -> None:
        """Replace an object's `status` (quota usage); a no-op on a dry run is the caller's business."""
        ...


@dataclass(slots=True)
class Attributes:
    """One write under admission. `obj` is None for DELETE and holds the options of a CONNECT, `old` is None for both
    CREATE and CONNECT."""

    operation: Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]
    resource: ResourceType
    namespace: str
    name: str
    user: User
    now: datetime
    obj: Object | None = None
    old: Object | None = None
    subresource: str = ""
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)


class AdmissionPlugin(Protocol):
    """Both calls raise ApiError to refuse. `admit` may change attributes.obj; `validate` must not."""

    name: str

    def admit(self, attributes: Attributes, reader: ClusterReader) -> None: ...

    def validate(self, attributes: Attributes, reader: ClusterReader) -> None: ...
