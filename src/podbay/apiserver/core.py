"""The API server without a socket: its parts put together, and the few services that verbs and handlers share.

Everything here is synchronous. A request that changes something runs from authorisation to commit in one turn of
the event loop, so nothing it has read can change before it writes.
"""

from __future__ import annotations

import random
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from podbay.aio.clock import Clock
from podbay.apiserver import status
from podbay.apiserver.admission.base import Attributes, ClusterReader
from podbay.apiserver.auth.authenticate import Authenticator
from podbay.apiserver.auth.authorize import Authorizer
from podbay.apiserver.auth.tokens import TokenIssuer
from podbay.apiserver.ownership import Ownership
from podbay.apiserver.registry import Registry, ResourceType
from podbay.apiserver.request import User
from podbay.apiserver.schema.types import Schema
from podbay.apiserver.storage import Entry, Store
from podbay.apiserver.streams import NodeStreams
from podbay.apiserver.verbs.context import WriteContext
from podbay.apiserver.verbs.delete import delete_object
from podbay.objects.meta import Object

__all__ = ["Admission", "Core", "StoreReader"]

_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""No vowels and no look-alikes, as k8s.io/apimachinery/pkg/util/rand."""


class Admission(Protocol):
    """The chain of plugins (admission/chain.py)."""

    def admit(self, attributes: Attributes, reader: ClusterReader) -> None: ...

    def validate(self, attributes: Attributes, reader: ClusterReader) -> None: ...


def new_uid() -> str:
    return str(uuid.uuid4())


def name_suffix() -> str:
    """Five random characters for generated names."""
    return "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(5))


def selectable_fields(resource: ResourceType, obj: Object) -> dict[str, str]:
    """What field selectors see of obj."""
    meta = obj["metadata"]
    fields = {name: read(obj) for name, read in resource.fields.items()}
    fields["metadata.name"] = meta["name"]
    fields["metadata.namespace"] = meta.get("namespace") or ""
    return fields


class StoreReader:
    """Stored objects for admission, authorization and handlers; parsed once per version and then shared.

    Callers must not change what they get.
    """

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store, self._registry = store, registry
        self._parsed: dict[tuple[str, str, str], tuple[int, Object]] = {}

    def get(self, key: str, namespace: str, name: str) -> Object | None:
        entry = self._store.get(key, namespace, name)
        return None if entry is None else self._object(key, entry)

    def list(self, key: str, namespace: str | None = None) -> list[Object]:
        return [self._object(key, entry) for entry in self._store.entries(key, namespace)]

    def version(self, key: str) -> int:
        """Grows whenever anything in the collection changes."""
        return self._store.collection_version(key)

    def update_status(self, key: str, namespace: str, name: str, status: Object) -> None:
        resource = self._registry.by_key(key)
        entry = self._store.get(key, namespace, name)
        if resource is None or entry is None:
            return
        obj = {**self._typed(key, entry), "status": status}
        self._store.update(key, obj, fields=selectable_fields(resource, obj), expected=entry.version)

    def _object(self, key: str, entry: Entry) -> Object:
        # Pods are many and read once each; what admission reads again and again is few.
        if key == "pods":
            return self._typed(key, entry)
        slot = (key, entry.namespace, entry.name)
        cached = self._parsed.get(slot)
        if cached is not None and cached[0] == entry.version:
            return cached[1]
        obj = self._typed(key, entry)
        if len(self._parsed) > _PARSED_LIMIT:
            self._parsed.clear()
        self._parsed[slot] = (entry.version, obj)
        return obj

    def _typed(self, key: str, entry: Entry) -> Object:
        resource = self._registry.by_key(key)
        assert resource is not None, key
        return {"kind": resource.kind, "apiVersion": resource.gvr.api_version, **entry.object()}


_PARSED_LIMIT = 2000


@dataclass(kw_only=True)
class Core:
    """The parts of one API server. Built by assemble.py; closed with its store."""

    store: Store
    registry: Registry
    schema: Schema
    clock: Clock
    admission: Admission
    field_manager: Ownership
    authorizer: Authorizer
    authenticator: Authenticator
    token_issuer: TokenIssuer
    reader: StoreReader
    new_uid: Callable[[], str] = new_uid
    name_suffix: Callable[[], str] = name_suffix
    jitter: random.Random = field(default_factory=random.Random)
    nodes: dict[str, NodeStreams] = field(default_factory=dict)
    """Who serves logs, exec, attach and port-forward of the pods of a node, by node name."""

    def now(self) -> datetime:
        return self.clock.now()

    def typed(self, resource: ResourceType, entry: Entry) -> Object:
        """A stored object with apiVersion and kind, the caller's own."""
        return {"kind": resource.kind, "apiVersion": resource.gvr.api_version, **entry.object()}

    def selectable_fields(self, resource: ResourceType, obj: Object) -> dict[str, str]:
        """What field selectors see of obj."""
        return selectable_fields(resource, obj)

    def update_object(
        self,
        resource: ResourceType,
        namespace: str,
        name: str,
        change: Callable[[Object], Object | None],
        *,
        user: User,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Object:
        """Read, change and store without admission or validation: what handlers like binding do.

        `change` gets the caller's own copy and returns the object to store, or None to leave it as it is.
        """
        del user, subresource
        entry = self.store.get(resource.key, namespace, name)
        if entry is None:
            raise status.not_found(resource.group_resource, name)
        changed = change(self.typed(resource, entry))
        if changed is None:
            return self.typed(resource, entry)
        if dry_run:
            return changed
        stored = self.store.update(
            resource.key, changed, fields=self.selectable_fields(resource, changed), expected=entry.version
        )
        return self.typed(resource, stored)

    def delete_object(
        self,
        resource: ResourceType,
        namespace: str,
        name: str,
        options: dict[str, Any],
        user: User,
    ) -> Object:
        """A normal delete on behalf of user (eviction, deletecollection)."""
        ctx = WriteContext(
            user=user,
            now=self.now(),
            namespace=namespace,
            name=name,
            dry_run=bool(options.get("dryRun")),
        )
        return delete_object(self, resource, options, ctx).object()
