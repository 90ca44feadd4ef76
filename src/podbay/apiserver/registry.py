"""How a kind is declared: one ResourceType per resource, a few lines each, found by the router in a Registry.

A Strategy holds what is peculiar to the kind (defaults, validation, what a client may change); the verb
handlers hold everything that is the same for all (k8s.io/apiserver/pkg/registry/generic does the same split).
Strategies are pure: they read and change the object they are given and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from podbay.apiserver.field import FieldError
from podbay.apiserver.request import RequestInfo, User
from podbay.objects.meta import Object
from podbay.objects.resource import GVR, GroupResource

__all__ = [
    "Column",
    "Registry",
    "ResourceType",
    "Strategy",
    "StrategyContext",
    "Subresource",
    "SubresourceHandler",
]

STANDARD_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
REVIEW_VERBS = ("create",)


@dataclass(frozen=True, slots=True)
class StrategyContext:
    """What a strategy may know besides the object."""

    now: datetime
    user: User
    namespace: str = ""
    subresource: str = ""
    dry_run: bool = False


class Strategy:
    """Default behaviour of a kind; a kind overrides what differs. One instance serves all requests.

    Source of the contract: k8s.io/apiserver/pkg/registry/rest/{create,update,delete}.go.
    """

    allow_create_on_update = False
    """PUT to a name that does not exist creates it (Lease, RBAC kinds and Events do)."""
    allow_unconditional_update = True
    """PUT without resourceVersion is allowed."""
    returns_deleted_object = False
    """DELETE answers with the object and not with a `Status` (pods, service accounts, claims, quotas, …)."""
    garbage_collected = True
    """Deletion may leave orphan or foreground finalizers on it (not Events)."""
    metadata_repeats: tuple[int, int] = (0, 1)
    """How often the kind's own update validation checks the whole metadata, and their change, once more;
    each repeat repeats every cause (metadata.update_errors)."""

    def set_defaults(self, obj: Object) -> None:
        """Fill defaults in place; runs after every decode and patch (Go: SetDefaults_*)."""

    def validate_name(self, name: str, *, prefix: bool) -> Sequence[str]:
        """Messages for a bad metadata.name, or for a bad generateName when prefix is true."""
        from podbay.objects.names import dns1123_subdomain_errors, masked_prefix

        return dns1123_subdomain_errors(masked_prefix(name) if prefix else name)

    def prepare_for_create(self, obj: Object, ctx: StrategyContext) -> None:
        """Drop what clients may not set (status), set what the server sets."""

    def validate(self, obj: Object, ctx: StrategyContext) -> list[FieldError]:
        """Everything wrong with a new object, except metadata (the create handler validates that)."""
        return []

    def warnings_on_create(self, obj: Object, ctx: StrategyContext) -> list[str]:
        """Sentences for `Warning:` headers."""
        return []

    def prepare_for_update(self, obj: Object, old: Object, ctx: StrategyContext) -> None:
        """Carry over what clients may not change through this endpoint."""

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        """Everything wrong with the change, except metadata."""
        return []

    def warnings_on_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[str]:
        return []

    def canonicalize(self, obj: Object) -> None:
        """Bring an accepted object into its stored form."""

    def grace_period(self, obj: Object, requested: int | None) -> int | None:
        """Seconds a delete must wait for, or None when the kind is deleted at once.

        requested is `gracePeriodSeconds` of the call, None when absent.
        """
        return None

    def undeletable(self, name: str) -> str:
        """Why DELETE of this name is forbidden; empty when it is not. Deleting a collection does not ask."""
        return ""

    def has_finalizers(self, obj: Object) -> bool:
        """Something still has to happen before a deleted object may go."""
        return bool((obj.get("metadata") or {}).get("finalizers"))

    def start_termination(self, obj: Object, now: str) -> bool:
        """First phase of deletion for a kind that empties itself before it goes (Namespace).

        Returns True while the object must stay; obj is changed in place (deletionTimestamp, phase).
        """
        return False


class SubresourceHandler(Protocol):
    """Serves a subresource that is not a view of the stored object (binding, eviction, token).

    `core` is the server's verb layer (apiserver.core.Core); typed Any here because it stands above this module.
    """

    def __call__(self, core: Any, info: RequestInfo, ctx: StrategyContext, body: Object | None) -> Object: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Subresource:
    """One subresource. With a strategy it is get/update/patch of the parent through that strategy (status);
    with a handler it is a `create` of its own kind; with neither it is a stream that a node serves."""

    name: str
    verbs: tuple[str, ...]
    kind: str
    group: str = ""
    version: str = ""
    type_name: str = ""
    strategy: Strategy | None = None
    handler: SubresourceHandler | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; priority above 0 shows with -o wide."""

    name: str
    type: str
    description: str = ""
    format: str = ""
    priority: int = 0


def _default_cells(obj: Object, now: datetime) -> list[Any]:
    from podbay.apiserver.tables import age

    return [obj["metadata"]["name"], age(obj, now)]


DEFAULT_COLUMNS = (
    Column("Name", "string", "Name must be unique within a namespace.", "name"),
    Column("Age", "string", "CreationTimestamp of the object."),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ResourceType:
    """Everything the server needs to serve one resource.

    type_name is the schema's name of the Go type ("io.k8s.api.core.v1.Pod"). fields maps each selectable
    field beyond metadata.name and metadata.namespace to its reader.
    """

    gvr: GVR
    kind: str
    type_name: str
    namespaced: bool
    strategy: Strategy
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = STANDARD_VERBS
    fields: Mapping[str, Callable[[Object], str]] = field(default_factory=dict)
    subresources: tuple[Subresource, ...] = ()
    columns: tuple[Column, ...] = DEFAULT_COLUMNS
    cells: Callable[[Object, datetime], list[Any]] = _default_cells
    row_conditions: Callable[[Object], list[dict[str, str]]] | None = None
    """Marks rows of `kubectl get` (pods that have ended)."""
    handler: SubresourceHandler | None = None
    """Set for kinds that are answered and not stored (SubjectAccessReview)."""
    measured: bool = False
    """Set for kinds that are not stored but measured by the nodes when somebody asks (PodMetrics)."""
    storage_key: str = ""
    """Set when another resource's collection is served under this name too (events.k8s.io events)."""
    to_storage: Callable[[Object], Object] | None = None
    """Turns a decoded object into the shape of that collection; strategies, cells and fields see that shape."""
    from_storage: Callable[[Object], Object] | None = None
    """Turns a stored object into what this resource shows."""

    @property
    def group_resource(self) -> GroupResource:
        return self.gvr.group_resource

    @property
    def key(self) -> str:
        """The storage key of the collection, "pods" or "roles.rbac.authorization.k8s.io"."""
        return self.storage_key or str(self.gvr.group_resource)

    @property
    def list_kind(self) -> str:
        return self.kind + "List"

    def subresource(self, name: str) -> Subresource | None:
        return next((s for s in self.subresources if s.name == name), None)


class Registry:
    """The resources a server serves, by URL and by kind. Built once, then only read."""

    def __init__(self, types: Iterable[ResourceType]) -> None:
        self._types = tuple(types)
        self._by_url = {(t.gvr.group, t.gvr.version, t.gvr.resource): t for t in self._types}
        self._by_kind = {(t.gvr.group, t.gvr.version, t.kind): t for t in self._types}

    def __iter__(self) -> Any:
        return iter(self._types)

    def find(self, group: str, version: str, resource: str) -> ResourceType | None:
        return self._by_url.get((group, version, resource))

    def find_kind(self, group: str, version: str, kind: str) -> ResourceType | None:
        return self._by_kind.get((group, version, kind))

    def by_key(self, key: str) -> ResourceType | None:
        return next((t for t in self._types if t.key == key), None)

    def groups(self) -> list[tuple[str, str]]:
        """(group, version) pairs in declaration order, the core group first."""
        seen: dict[tuple[str, str], None] = {}
        for t in self._types:
            seen.setdefault((t.gvr.group, t.gvr.version))
        return sorted(seen, key=lambda gv: gv[0] != "")
