"""Server-side apply of one configuration to one object: merge, prune, conflicts, new owners.

Source: sigs.k8s.io/structured-merge-diff/merge/update.go. Pure; what a conflict is answered with, annotations and
times are managed.py's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from podbay.apiserver.patch.fieldset import (
    FieldSet,
    difference,
    intersection,
    name_members,
    paths,
    recursive_difference,
    union,
)
from podbay.apiserver.patch.managers import APPLY, Entry, Managers, Name, Write
from podbay.apiserver.patch.shapes import Shape
from podbay.apiserver.patch.typed import changes, field_set_of, merge
from podbay.apiserver.patch.typed_remove import remove
from podbay.objects.meta import Object

__all__ = ["Conflict", "Outcome", "apply_configuration", "disown"]

Conflict: TypeAlias = tuple[Name, tuple[str, ...]]
"""A manager and the path of a field that it owns and the configuration would change."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The merged object and its managers; with conflicts, nothing was decided and both are the old ones."""

    merged: Object
    managers: Managers
    conflicts: list[Conflict]
    changed: bool = False


def apply_configuration(
    live: Object, config: Object, managers: Managers, shape: Shape, *, write: Write, force: bool
) -> Outcome:
    """Apply config as write's manager. Inputs are not changed; the result shares parts with them.

    ValueError when a list item cannot be told apart.
    """
    name = write.name(APPLY)
    last = managers.get(name)
    wanted = field_set_of(config, shape)
    if write.reset:
        wanted = recursive_difference(wanted, write.reset)
    after = {**managers, name: Entry(write.api_version, wanted, last.time if last else "")}
    merged = merge(live, config, shape)
    if last is not None and last.fields and last.api_version == write.api_version:
        merged = _prune(merged, after, last.fields, shape, write.api_version)
    changed, removed = changes(live, merged or {}, shape)
    if write.reset:
        changed = recursive_difference(changed, write.reset)
        removed = recursive_difference(removed, write.reset)
    mine = after.pop(name)
    if not force:
        conflicts = _conflicts(after, changed, write.api_version)
        if conflicts:
            return Outcome(live, managers, conflicts)
    after = disown(after, changed, removed, write.api_version)
    if mine.fields:
        after[name] = mine
    return Outcome(merged or {}, after, [], merged != live)


def disown(managers: Managers, changed: FieldSet, removed: FieldSet, api_version: str) -> Managers:
    """Take changed and removed fields from every manager; those left with none, or of a gone version, go."""
    out: Managers = {}
    for name, entry in managers.items():
        if entry.api_version != api_version:
            continue
        fields = difference(difference(entry.fields, changed), removed)
        if fields:
            out[name] = entry if fields is entry.fields else replace(entry, fields=fields)
    return out


def _conflicts(managers: Managers, changed: FieldSet, api_version: str) -> list[Conflict]:
    return [
        (name, path)
        for name in sorted(managers)
        if managers[name].api_version == api_version
        for path in paths(intersection(managers[name].fields, changed))
    ]


def _prune(merged: Any, managers: Managers, last: FieldSet, shape: Shape, api_version: str) -> Any:
    """Drop what the manager applied last time, wants no more, and nobody else owns."""
    last = name_members(last, shape)
    owned: FieldSet = {}
    for entry in managers.values():
        if entry.api_version == api_version:
            owned = union(owned, entry.fields)
    everything = name_members(field_set_of(merged, shape), shape)
    pruned = remove(merged, last, shape)
    kept = union(name_members(field_set_of(pruned, shape), shape), name_members(owned, shape))
    pruned = remove(merged, difference(everything, kept), shape)
    # Items that hung on a pruned parent but were never this manager's own come back.
    gone = difference(everything, name_members(field_set_of(pruned, shape), shape))
    return remove(merged, intersection(gone, last), shape)
