"""What applying a desired object would change of the live one, field by field. Pure.

A field is as desired when the live object carries its value *and* our field manager owns it. A field that we own and that
is no longer desired would go. Everything else of the live object (what the server filled in, what others own) is nobody's
difference. This is what server-side apply does, computed without asking the server, so that a plan needs no right to write.
Lists are compared as wholes; those that the API merges item by item (variables of an admission policy) are so too, because
nobody else has a reason to add to ours.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from podbay.deployment.ownership import FieldTree, leaves, our_fields, owners_of
from podbay.kube.retry import carries
from podbay.objects.meta import Object

__all__ = ["FieldChange", "after", "field_changes"]

_IDENTITY: Final = (("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace"))


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One field: what is there, what is wanted (None: the field goes), and who else owns it now."""

    path: tuple[str, ...]
    live: Any
    desired: Any
    owners: tuple[str, ...] = ()
    """Other managers that own it with another value; server-side apply calls that a conflict."""

    @property
    def is_visible(self) -> bool:
        """The value changes, not only its owner."""
        return not carries(self.live, self.desired) if self.desired is not None else self.live is not None

    def __str__(self) -> str:
        return ".".join(self.path)


def field_changes(desired: Object, live: Object) -> list[FieldChange]:
    """What applying would change; empty when it would change nothing at all."""
    tree = our_fields(live)
    changes = _compared(desired, live, live, tree, ())
    wanted = _paths(desired)
    for path in leaves(tree):
        if not any(_meets(path, each) for each in wanted) and _at(live, path) is not None:
            changes.append(FieldChange(path=path, live=_at(live, path), desired=None))
    return changes


def after(desired: Object, live: Object) -> Object:
    """The live object as it would be after applying, as far as can be told without the server."""
    merged = copy.deepcopy(live)
    for change in field_changes(desired, live):
        _put(merged, change.path, copy.deepcopy(change.desired))
    metadata = merged.get("metadata") or {}
    for name in ("labels", "annotations"):
        # Servers write no empty ones.
        if metadata.get(name) == {}:
            del metadata[name]
    return merged


def _compared(
    desired: Any, live: Any, whole: Object, tree: FieldTree | None, path: tuple[str, ...]
) -> list[FieldChange]:
    """tree is what we own below this path: None nothing, empty all of it."""
    if path in _IDENTITY:
        return []
    if isinstance(desired, Mapping) and desired and (tree is None or tree or not path):
        changes = []
        for name, value in desired.items():
            below = None if tree is None else tree.get(f"f:{name}")
            there = live.get(name) if isinstance(live, Mapping) else None
            changes += _compared(value, there, whole, below, (*path, name))
        return changes
    same = carries(live, desired)
    if same and tree is not None:
        return []
    owners = () if same else tuple(owners_of(whole, path))
    return [FieldChange(path=path, live=live, desired=desired, owners=owners)]


def _paths(desired: Any, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """Paths of everything that is not a mapping with something in it."""
    if not isinstance(desired, Mapping) or not desired:
        return {path}
    found = set()
    for name, value in desired.items():
        found |= _paths(value, (*path, name))
    return found


def _meets(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """One is the other, or above or below it: what is owned as a whole may be desired in parts."""
    shared = min(len(one), len(other))
    return one[:shared] == other[:shared]


def _at(obj: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        if not isinstance(obj, Mapping):
            return None
        obj = obj.get(step)
    return obj


def _put(obj: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for step in path[:-1]:
        below = obj.get(step)
        if not isinstance(below, dict):
            below = obj[step] = {}
        obj = below
    if value is None:
        obj.pop(path[-1], None)
    else:
        obj[path[-1]] = value
