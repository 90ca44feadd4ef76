"""The garbage collector's graph of owners and dependents, and its decisions. Pure.

Source: pkg/controller/garbagecollector/{graph,graph_builder,garbagecollector}.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from podbay.objects.meta import Object
from podbay.objects.resource import GVR

__all__ = ["FOREGROUND", "ORPHAN", "Graph", "Owner", "OwnerState", "Verdict", "Vertex", "judge"]

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


class OwnerState(Enum):
    """What a live look-up says of one owner reference."""

    SOLID = "solid"
    DANGLING = "dangling"
    WAITING = "waiting"
    """The owner is itself being deleted in the foreground and waits for its dependents."""


class Verdict(Enum):
    """What becomes of an object, given the states of its owners."""

    KEEP = "keep"
    DROP_REFERENCES = "drop references"
    DELETE = "delete"
    DELETE_FOREGROUND = "delete in the foreground"


@dataclass(frozen=True, slots=True)
class Owner:
    """One entry of metadata.ownerReferences."""

    api_version: str
    kind: str
    name: str
    uid: str
    blocks: bool = False

    @classmethod
    def of(cls, reference: Mapping[str, object]) -> Owner:
        return cls(
            str(reference.get("apiVersion") or ""),
            str(reference.get("kind") or ""),
            str(reference.get("name") or ""),
            str(reference.get("uid") or ""),
            bool(reference.get("blockOwnerDeletion")),
        )


@dataclass(slots=True, eq=False)
class Vertex:
    """One object. resource is None while it is only known from references to it."""

    uid: str
    resource: GVR | None = None
    namespace: str = ""
    name: str = ""
    owners: tuple[Owner, ...] = ()
    dependents: dict[str, None] = field(default_factory=dict)
    deleting: bool = False
    finalizers: tuple[str, ...] = ()

    @property
    def waits_for_dependents(self) -> bool:
        return self.deleting and FOREGROUND in self.finalizers

    @property
    def orphans(self) -> bool:
        return self.deleting and ORPHAN in self.finalizers


@dataclass(slots=True)
class Graph:
    """Every object that owns or is owned; methods return the uids that need a look."""

    vertices: dict[str, Vertex] = field(default_factory=dict)

    def put(self, resource: GVR, obj: Object) -> list[str]:
        """An object was added or changed."""
        metadata = obj["metadata"]
        uid = metadata.get("uid") or ""
        vertex = self.vertices.get(uid)
        owners = tuple(Owner.of(r) for r in metadata.get("ownerReferences") or ())
        finalizers = tuple(metadata.get("finalizers") or ())
        deleting = bool(metadata.get("deletionTimestamp"))
        if vertex is None:
            vertex = self.vertices[uid] = Vertex(uid)
        before = (vertex.owners, vertex.deleting, vertex.finalizers, vertex.resource)
        vertex.resource, vertex.name = resource, metadata["name"]
        vertex.namespace = metadata.get("namespace") or ""
        vertex.deleting, vertex.finalizers = deleting, finalizers
        looks = self._link(vertex, owners)
        if before != (owners, deleting, finalizers, resource) and (
            vertex.waits_for_dependents or vertex.orphans
        ):
            looks.append(uid)
        return looks

    def _link(self, vertex: Vertex, owners: tuple[Owner, ...]) -> list[str]:
        """Follow changed references: owners lose or gain a dependent; an unknown owner makes the vertex suspect."""
        old, new = {o.uid: o for o in vertex.owners}, {o.uid: o for o in owners}
        vertex.owners = owners
        looks: list[str] = []
        for uid in old.keys() - new.keys():
            looks += self._unlink(vertex.uid, uid)
        for uid, owner in new.items():
            if uid in old:
                if old[uid].blocks and not owner.blocks and self._waits(uid):
                    looks.append(uid)
                continue
            parent = self.vertices.get(uid)
            if parent is None:
                parent = self.vertices[uid] = Vertex(uid)
            if parent.resource is None or parent.waits_for_dependents or not _same(parent, owner, vertex):
                looks.append(vertex.uid)
            parent.dependents[vertex.uid] = None
        if old.keys() - new.keys() and owners:
            looks.append(vertex.uid)
        return looks

    def _waits(self, uid: str) -> bool:
        vertex = self.vertices.get(uid)
        return vertex is not None and vertex.waits_for_dependents

    def _unlink(self, dependent: str, owner: str) -> list[str]:
        parent = self.vertices.get(owner)
        if parent is None:
            return []
        parent.dependents.pop(dependent, None)
        if parent.resource is None and not parent.dependents:
            del self.vertices[owner]
        return [owner] if parent.waits_for_dependents else []

    def remove(self, uid: str) -> list[str]:
        """An object is gone: its dependents and the owners that waited for it need a look."""
        vertex = self.vertices.get(uid)
        if vertex is None:
            return []
        looks: list[str] = []
        for owner in vertex.owners:
            looks += self._unlink(uid, owner.uid)
        looks += list(vertex.dependents)
        if vertex.dependents:
            # References to it remain until the dependents are dealt with.
            vertex.resource, vertex.owners = None, ()
            vertex.deleting, vertex.finalizers = False, ()
        else:
            del self.vertices[uid]
        return looks

    def blocking(self, vertex: Vertex) -> list[Vertex]:
        """Dependents that the end of a foreground deletion waits for."""
        found = [self.vertices[uid] for uid in vertex.dependents if uid in self.vertices]
        return [d for d in found if any(o.uid == vertex.uid and o.blocks for o in d.owners)]


def _same(parent: Vertex, owner: Owner, dependent: Vertex) -> bool:
    """Whether the reference describes the object that has its uid."""
    return parent.name == owner.name and parent.namespace in ("", dependent.namespace)


def judge(states: Sequence[OwnerState], *, has_dependents: bool, dependents_wait: bool) -> Verdict:
    """What becomes of an object with owner references, all of them looked up."""
    if OwnerState.SOLID in states:
        if all(s is OwnerState.SOLID for s in states):
            return Verdict.KEEP
        return Verdict.DROP_REFERENCES
    if OwnerState.WAITING in states and has_dependents and not dependents_wait:
        return Verdict.DELETE_FOREGROUND
    return Verdict.DELETE
