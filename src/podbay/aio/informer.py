"""A local, always current copy of one collection, fed by list and watch.

Written against `ClusterApi`, so it works on the embedded cluster and on any other. A watch that ends is resumed
from the last resourceVersion seen; an expired one (410) is replaced by a new list. Readers never change objects.
Source of the rules: client-go/tools/cache (reflector.go, shared_informer.go).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from podbay.aio.backoff import Backoff
from podbay.aio.clock import Clock
from podbay.aio.tasks import TaskGroup
from podbay.errors import ApiError
from podbay.objects.api import ClusterApi, WatchEvent
from podbay.objects.meta import Object
from podbay.objects.resource import GVR

__all__ = ["Informer", "InformerSet", "metadata_only", "object_key"]

log = logging.getLogger(__name__)

Handler = Callable[[Object | None, Object | None], None]
"""(old, new): old None means added, new None means deleted. Called on the event loop; must return at once."""

Index = Callable[[Object], Iterable[str]]


def object_key(obj: Object) -> str:
    """`namespace/name`, or `name` for a cluster-scoped object."""
    metadata = obj["metadata"]
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Selection:
    namespace: str | None = None
    label_selector: str = ""
    field_selector: str = ""


@dataclass(slots=True)
class _Indexed:
    function: Index
    keys: dict[str, dict[str, None]] = field(default_factory=dict)


class Informer:
    """One collection kept current. `store` maps object_key to the object; `synced` is set after the first list.

    Objects pass `transform` on their way in; unless given, it drops metadata.managedFields.
    """

    def __init__(
        self,
        api: ClusterApi,
        resource: GVR,
        clock: Clock,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        transform: Callable[[Object], Object] | None = None,
    ) -> None:
        self.resource = resource
        self.store: dict[str, Object] = {}
        self.synced = asyncio.Event()
        self._api = api
        self._clock = clock
        self._selection = _Selection(
            namespace=namespace, label_selector=label_selector, field_selector=field_selector
        )
        self._transform = transform or _lean
        self._indexes: dict[str, _Indexed] = {}
        self._handlers: list[Handler] = []
        self._backoff = Backoff(initial=0.1, maximum=30.0)
        """Reflectors start at 800 ms against remote servers; in one process a tenth of a second is polite enough."""

    def add_handler(self, handler: Handler) -> None:
        """Call handler for every object already here (as added) and every later change."""
        self._handlers.append(handler)
        for obj in list(self.store.values()):
            handler(None, obj)

    def add_index(self, name: str, function: Index) -> None:
        """Index present and future objects; adding a name again changes nothing."""
        if name in self._indexes:
            return
        index = self._indexes[name] = _Indexed(function)
        for key, obj in self.store.items():
            for value in function(obj):
                index.keys.setdefault(value, {})[key] = None

    def by_index(self, name: str, value: str) -> list[Object]:
        """The objects whose index function gave value, oldest first."""
        return [self.store[key] for key in self._indexes[name].keys.get(value, ())]

    def count_index(self, name: str, value: str) -> int:
        """How many objects `by_index` would give, at no cost."""
        return len(self._indexes[name].keys.get(value, ()))

    def get(self, name: str, namespace: str = "") -> Object | None:
        """One object, or None."""
        return self.store.get(f"{namespace}/{name}" if namespace else name)

    async def run(self) -> None:
        """List and watch until cancelled."""
        failures = 0
        version: str | None = None
        while True:
            try:
                if version is None:
                    version = await self._list()
                before = version
                version = await self._watch(version)
                failures = 0 if version != before else failures + 1
            except ApiError as error:
                failures = self._failed(error, failures)
                if error.code in (410, 504) or error.reason in ("Expired", "Gone"):
                    version = None
                    failures = 0 if failures <= 1 else failures
            if failures:
                await self._clock.sleep(self._backoff.delay(failures - 1))

    def _failed(self, error: ApiError, failures: int) -> int:
        log.log(
            logging.DEBUG if error.code == 410 else logging.WARNING,
            "informer of %s: %s",
            self.resource.group_resource,
            error.message,
        )
        return failures + 1

    async def _list(self) -> str:
        chosen = self._selection
        answer = await self._api.list(
            self.resource,
            namespace=chosen.namespace,
            label_selector=chosen.label_selector,
            field_selector=chosen.field_selector,
        )
        fresh = {object_key(obj): self._transform(obj) for obj in answer.items}
        for key in [k for k in self.store if k not in fresh]:
            self._apply(key, None)
        for key, obj in fresh.items():
            old = self.store.get(key)
            if old is None or _version(old) != _version(obj):
                self._apply(key, obj)
        self.synced.set()
        return answer.resource_version

    async def _watch(self, version: str) -> str:
        chosen = self._selection
        events = self._api.watch(
            self.resource,
            namespace=chosen.namespace,
            label_selector=chosen.label_selector,
            field_selector=chosen.field_selector,
            resource_version=version,
        )
        async for event in events:
            version = self._take(event) or version
        return version

    def _take(self, event: WatchEvent) -> str | None:
        if event.type == "ERROR":
            raise ApiError.from_status(event.object)
        if event.type == "BOOKMARK":
            return _version(event.object)
        obj = self._transform(event.object)
        if event.type == "DELETED":
            self._apply(object_key(obj), None, last=obj)
        else:
            self._apply(object_key(obj), obj)
        return _version(obj)

    def _apply(self, key: str, obj: Object | None, *, last: Object | None = None) -> None:
        old = self.store.pop(key, None) if obj is None else self.store.get(key)
        if obj is not None:
            self.store[key] = obj
        for index in self._indexes.values():
            _reindex(index, key, old, obj)
        if obj is None:
            old = last or old
            if old is None:
                return
        for handler in self._handlers:
            handler(old, obj)


def _reindex(index: _Indexed, key: str, old: Object | None, new: Object | None) -> None:
    before = set(index.function(old)) if old is not None else set()
    after = set(index.function(new)) if new is not None else set()
    for value in before - after:
        keys = index.keys.get(value, {})
        keys.pop(key, None)
        if not keys:
            index.keys.pop(value, None)
    for value in after - before:
        index.keys.setdefault(value, {})[key] = None


def _lean(obj: Object) -> Object:
    """Field ownership is half of a typical object and nothing that reads a local copy needs it."""
    obj["metadata"].pop("managedFields", None)
    return obj


_KEPT_METADATA = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "finalizers",
    "ownerReferences",
    "labels",
)


def metadata_only(obj: Object) -> Object:
    """What garbage collection and counting need of an object, and little more memory than that."""
    metadata = obj["metadata"]
    return {
        "apiVersion": obj.get("apiVersion"),
        "kind": obj.get("kind"),
        "metadata": {key: metadata[key] for key in _KEPT_METADATA if key in metadata},
    }


def _version(obj: Object) -> str | None:
    version = obj["metadata"].get("resourceVersion")
    return str(version) if version is not None else None


class InformerSet:
    """One shared, unfiltered informer per collection, started on first use in the given group."""

    def __init__(self, api: ClusterApi, group: TaskGroup, clock: Clock) -> None:
        self._api = api
        self._group = group
        self._clock = clock
        self._transforms: dict[GVR, Callable[[Object], Object]] = {}
        self._full: dict[GVR, Informer] = {}
        self._metadata: dict[GVR, Informer] = {}

    def keep(self, resource: GVR, transform: Callable[[Object], Object]) -> None:
        """Hold objects of the collection as transform leaves them; for informers that are not started yet."""
        self._transforms[resource] = transform

    def informer(self, resource: GVR) -> Informer:
        """The collection's informer; the same object every time."""
        if resource not in self._full:
            transform = self._transforms.get(resource)
            informer = Informer(self._api, resource, self._clock, transform=transform)
            self._full[resource] = self._start(informer, f"informer/{resource.group_resource}")
        return self._full[resource]

    def metadata(self, resource: GVR) -> Informer:
        """An informer whose objects have at least their metadata: the full one if it runs, else a slim one."""
        if resource in self._full:
            return self._full[resource]
        if resource not in self._metadata:
            informer = Informer(self._api, resource, self._clock, transform=metadata_only)
            name = f"metadata informer/{resource.group_resource}"
            self._metadata[resource] = self._start(informer, name)
        return self._metadata[resource]

    def separate(
        self,
        resource: GVR,
        *,
        namespace: str | None = None,
        field_selector: str = "",
        transform: Callable[[Object], Object] | None = None,
    ) -> Informer:
        """An informer of its own, for a part of a collection or for less of each object."""
        informer = Informer(
            self._api,
            resource,
            self._clock,
            namespace=namespace,
            field_selector=field_selector,
            transform=transform,
        )
        return self._start(informer, f"informer/{resource.group_resource}?{namespace or ''}{field_selector}")

    def _start(self, informer: Informer, name: str) -> Informer:
        self._group.start(name, informer.run())
        return informer

    async def wait_synced(self) -> None:
        """Return when every shared informer asked for so far has its first list."""
        for informer in [*self._full.values(), *self._metadata.values()]:
            await informer.synced.wait()
