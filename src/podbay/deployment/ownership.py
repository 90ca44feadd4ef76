"""Which fields of a live object our field manager owns, read from its managedFields. Pure.

Source: kubernetes.io/docs/reference/using-api/server-side-apply and structured-merge-diff's FieldsV1: `f:NAME` is a field,
`k:{...}` an item of a list by its keys, `v:VALUE` an element of a set, `.` the thing itself; a path without anything below
it is owned as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from podbay.deployment.labels import FIELD_MANAGER
from podbay.objects.meta import Object

__all__ = ["FieldTree", "leaves", "our_fields", "owners_of"]

FieldTree: TypeAlias = Mapping[str, Any]
"""FieldsV1 as JSON."""


def our_fields(live: Object) -> FieldTree:
    """What our manager has applied; empty when it has applied nothing."""
    merged: dict[str, Any] = {}
    for entry in _entries(live):
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply":
            merged = {**merged, **(entry.get("fieldsV1") or {})}
    return merged


def owners_of(live: Object, path: tuple[str, ...]) -> list[str]:
    """Names of other managers that own the field or something below it, in the order in which they came."""
    found = []
    for entry in _entries(live):
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply":
            continue
        tree: Any = entry.get("fieldsV1") or {}
        for step in path:
            tree = tree.get(f"f:{step}") if isinstance(tree, Mapping) else None
            # An ancestor that is owned as a whole owns the field as well.
            if tree is None or not tree:
                break
        if tree is not None:
            found.append(str(entry.get("manager")))
    return list(dict.fromkeys(found))


def leaves(tree: FieldTree, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of named fields that are owned as a whole, or whose list items are owned one by one."""
    for key, below in tree.items():
        if not key.startswith("f:"):
            continue
        name = (*path, key[2:])
        if any(each.startswith("f:") for each in below):
            yield from leaves(below, name)
        else:
            yield name


def _entries(live: Object) -> list[Mapping[str, Any]]:
    entries = (live.get("metadata") or {}).get("managedFields") or []
    return [each for each in entries if not each.get("subresource")]
