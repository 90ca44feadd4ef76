"""JSON values under a type: what differs, which fields they set, how two merge, what stays after removal.

Source: sigs.k8s.io/structured-merge-diff/typed (compare.go, tofieldset.go, merge.go, remove.go, helpers.go) as
Kubernetes 1.36 uses it (v6.3.2). Values were checked before (typed_check.py) or come out of storage.
"""

from __future__ import annotations

from typing import Any

from podbay.apiserver.patch.fieldset import SELF, FieldSet, key_element, value_element
from podbay.apiserver.patch.shapes import NO_DEFAULT, Shape

__all__ = ["changes", "field_set_of", "item_element", "merge"]

_ABSENT: Any = object()


def changes(old: Any, new: Any, shape: Shape) -> tuple[FieldSet, FieldSet]:
    """The paths that new adds or changes, and those that it removes. Both values are objects of the type.

    ValueError when a list item lacks its keys.
    """
    changed: FieldSet = {}
    removed: FieldSet = {}
    _compare_maps(old, new, shape, changed, removed)
    return changed, removed


def _compare_maps(old: Any, new: Any, shape: Shape, changed: FieldSet, removed: FieldSet) -> None:
    fields, element = shape.fields, shape.element
    for key, value in new.items():
        before = old.get(key, _ABSENT)
        if before is not _ABSENT and before == value:
            continue
        inner = fields.get(key) or element
        if inner is not None:
            _compare(f"f:{key}", before, value, inner, changed, removed)
    for key, before in old.items():
        if key not in new:
            inner = fields.get(key) or element
            if inner is not None:
                _compare(f"f:{key}", before, _ABSENT, inner, changed, removed)


def _compare(path: str, old: Any, new: Any, shape: Shape, changed: FieldSet, removed: FieldSet) -> None:
    """Compare one element of a map or list; absent sides are _ABSENT."""
    left = old if old is not _ABSENT else None
    right = new if new is not _ABSENT else None
    # Two empty containers are compared as one value, so that null, {} and [] stay different.
    if shape.leaf or not (left or right):
        if new is _ABSENT:
            removed[path] = {}
        elif old is _ABSENT or old != new:
            changed[path] = {}
        return
    below_changed: FieldSet = {SELF: {}} if old is _ABSENT else {}
    below_removed: FieldSet = {SELF: {}} if new is _ABSENT else {}
    if shape.is_map:
        _compare_maps(
            left if isinstance(left, dict) else {},
            right if isinstance(right, dict) else {},
            shape,
            below_changed,
            below_removed,
        )
    else:
        _compare_lists(
            left if isinstance(left, list) else [],
            right if isinstance(right, list) else [],
            shape,
            below_changed,
            below_removed,
        )
    if below_changed:
        changed[path] = below_changed if len(below_changed) > 1 or SELF not in below_changed else {}
    if below_removed:
        removed[path] = below_removed if len(below_removed) > 1 or SELF not in below_removed else {}


def _compare_lists(
    old: list[Any], new: list[Any], shape: Shape, changed: FieldSet, removed: FieldSet
) -> None:
    element = shape.element
    assert element is not None
    before, after = _by_element(old, shape), _by_element(new, shape)
    for path in before | after:
        lefts, rights = before.get(path, ()), after.get(path, ())
        if len(lefts) <= 1 and len(rights) <= 1:
            left = lefts[0] if lefts else _ABSENT
            right = rights[0] if rights else _ABSENT
            if left is _ABSENT or right is _ABSENT or left != right:
                _compare(path, left, right, element, changed, removed)
            continue
        # Items that share a key are owned together, as one value.
        if len(lefts) >= 2 and len(rights) >= 2:
            if lefts != rights:
                changed[path] = {}
        elif len(lefts) >= 2:
            if rights:
                _compare(path, _ABSENT, rights[0], element, changed, removed)
            removed[path] = {}
        else:
            if lefts:
                _compare(path, lefts[0], _ABSENT, element, changed, removed)
            changed[path] = {}


def _by_element(items: list[Any], shape: Shape) -> dict[str, list[Any]]:
    out: dict[str, list[Any]] = {}
    for item in items:
        out.setdefault(item_element(item, shape), []).append(item)
    return out


def item_element(item: Any, shape: Shape) -> str:
    """The path element of an item of a set or keyed list. ValueError when it cannot be told apart."""
    if not shape.keys:
        if isinstance(item, dict):
            raise ValueError("associative list without keys has an element that's a map type")
        if isinstance(item, list):
            raise ValueError("not supported: associative list with lists as elements")
        if item is None:
            raise ValueError("associative list without keys has an element that's an explicit null")
        return value_element(item)
    if item is None:
        raise ValueError("associative list with keys may not have a null element")
    if not isinstance(item, dict):
        raise ValueError("associative list with keys may not have non-map elements")
    parts: list[Any] = []
    for name in shape.keys:
        value = item.get(name, _ABSENT)
        if value is _ABSENT:
            value = shape.key_defaults[name]
            if value is NO_DEFAULT:
                continue
        parts += (name, value)
    if not parts:
        names = " ".join(f'"{name}"' for name in shape.keys)
        raise ValueError(
            f"associative list with keys has an element that omits all key fields [{names}] "
            "(and doesn't have default values for any key fields)"
        )
    return key_element(*parts)


def field_set_of(value: Any, shape: Shape) -> FieldSet:
    """The paths that an object sets: leaves, list items, map entries, and what it sets to null or {}."""
    out: FieldSet = {}
    if isinstance(value, dict) and not shape.leaf:
        for key, item in value.items():
            inner = shape.member(key)
            if inner is None:
                continue
            node, is_member = _node_of(item, inner)
            if is_member or item is None or item == {} or key not in shape.fields:
                out[f"f:{key}"] = {SELF: {}, **node} if node else {}
            elif node:
                out[f"f:{key}"] = node
    elif isinstance(value, list) and not shape.leaf:
        element = shape.element
        assert element is not None
        for path, items in _by_element(value, shape).items():
            # Items that share a key are owned together.
            node = _node_of(items[0], element)[0] if len(items) == 1 else {}
            out[path] = {SELF: {}, **node} if node else {}
    return out


def _node_of(value: Any, shape: Shape) -> tuple[FieldSet, bool]:
    """What is below a value, and whether the value's own path belongs to the set."""
    return ({}, True) if shape.leaf else (field_set_of(value, shape), False)


def merge(old: Any, new: Any, shape: Shape) -> Any:
    """new laid over old: leaves of new win, maps and keyed lists merge, everything else of old stays.

    Both must be given (null counts as given). The result shares parts with its inputs.
    """
    if shape.leaf or not (old or new):
        return new
    if shape.is_map:
        return _merge_maps(old if isinstance(old, dict) else {}, new if isinstance(new, dict) else {}, shape)
    return _merge_lists(old if isinstance(old, list) else [], new if isinstance(new, list) else [], shape)


def _merge_maps(old: dict[str, Any], new: dict[str, Any], shape: Shape) -> dict[str, Any]:
    out = dict(old)
    for key, value in new.items():
        inner = shape.member(key)
        out[key] = merge(old[key], value, inner) if key in old and inner is not None else value
    return out


def _merge_lists(old: list[Any], new: list[Any], shape: Shape) -> list[Any]:
    """Items of new in their order, items that only old has kept near their old neighbours."""
    element = shape.element
    assert element is not None
    left = [item_element(item, shape) for item in old]
    right = [item_element(item, shape) for item in new]
    old_by, new_by = _by_element(old, shape), dict(zip(right, new, strict=True))
    shared = [path for path in right if path in old_by]
    out: list[Any] = []
    done: set[str] = set()

    def take(path: str) -> None:
        done.add(path)
        if shared and shared[0] == path:
            shared.pop(0)
        twins = old_by.get(path)
        # Items that shared a key in old are all replaced by the one in new.
        mergeable = twins is not None and len(twins) == 1
        out.append(merge(twins[0], new_by[path], element) if mergeable and twins else new_by[path])

    i = j = 0
    while i < len(left) or j < len(right):
        if i < len(left) and j < len(right):
            if left[i] == right[j]:
                take(right[j])
                i, j = i + 1, j + 1
                continue
            if left[i] in new_by and shared and shared[0] != left[i]:
                i += 1
                continue
        if i < len(left):
            if left[i] not in new_by:
                out.append(old[i])
                i += 1
                continue
            if left[i] in done:
                i += 1
        if j < len(right):
            take(right[j])
            j += 1
    return out
