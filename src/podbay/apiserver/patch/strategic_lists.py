"""How one list merges under a strategic merge patch: by merge key, by value, and in which order.

Source: mergeSlice and the ordering rules of k8s.io/apimachinery/pkg/util/strategicpatch/patch.go. Items of the
patch keep their order, items that only the server has keep theirs, and the two are interleaved by where items
stood before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from podbay.apiserver import status
from podbay.apiserver.patch.govalues import go_sprint, go_type, json_equal
from podbay.errors import ApiError
from podbay.objects.meta import Object

__all__ = [
    "DELETE",
    "DIRECTIVE",
    "MERGE",
    "REPLACE",
    "Listing",
    "bad_argument",
    "bad_directive",
    "fault",
    "merge_list",
    "order_by_directive",
]

DIRECTIVE = "$patch"
REPLACE = "replace"
DELETE = "delete"
MERGE = "merge"
_MAP = "map[string]interface {}"

Items: TypeAlias = list[Any]


@dataclass(frozen=True, slots=True)
class Listing:
    """What the type says about a list. merge_item merges a patch item into the item with the same key."""

    merge_key: str
    item_kind: str
    merge_item: Callable[[Object, Object], Object]


def fault(message: str) -> ApiError:
    """An error that kube-apiserver passes on unclassified."""
    return ApiError(500, "", message)


def bad_argument(expected: str, actual: Any) -> ApiError:
    received = "%!s(<nil>)" if actual is None else go_type(actual)
    return fault(f"expected a {expected}, but received a {received}")


def bad_directive(directive: Any, item: Object) -> ApiError:
    shown = directive if isinstance(directive, str) else f"%!s({_typed(directive)})"
    return fault(f"unknown patch type: {shown} in map: {go_sprint(item)}")


def _typed(value: Any) -> str:
    return "<nil>" if value is None else f"{go_type(value)}={go_sprint(value)}"


def _no_merge_key(item: Object, key: str) -> ApiError:
    return fault(f"map: {go_sprint(item)} does not contain declared merge key: {key}")


def merge_list(original: Items, patch: Items, listing: Listing, *, deleting: bool) -> Items:
    """Merge a list whose strategy is merge; deleting: patch is a $deleteFromPrimitiveList."""
    if not original and not patch:
        return original
    if _item_type(original, patch) != _MAP:
        if deleting:
            return [v for v in original if not _contains(patch, v)]
        merged = _unique(original + patch)
        key = listing.merge_key
        if key:
            raise bad_argument(_MAP, merged[0])
        return _interleave(merged, patch, original, "")
    merged, kept, plain = _merge_items(original, patch, listing)
    return _interleave(merged, plain, kept, listing.merge_key)


def _merge_items(original: Items, patch: Items, listing: Listing) -> tuple[Items, Items, Items]:
    """The merged objects, unordered (new ones last); what original keeps; patch without its directives."""
    key = listing.merge_key
    if not key:
        raise fault(f"cannot merge lists without merge key for {listing.item_kind}")
    kept, plain = _obey_item_directives(original, patch, key)
    merged = list(kept)
    for item in plain:
        if key not in item:
            raise _no_merge_key(item, key)
        at = _find(merged, key, item[key])
        if at < 0:
            merged.append(item)
        else:
            merged[at] = listing.merge_item(merged[at], item)
    return merged, kept, plain


def order_by_directive(
    original: Items | None, patch: Items | None, order: Items, listing: Listing, *, replacing: bool
) -> Items | None:
    """Merge a list and order it as $setElementOrder says; None when there is nothing to order.

    replacing: the strategy of the list is not merge, so the patch stands for the whole.
    """
    _check_order(patch or [], order, listing.merge_key)
    if original is None and patch is None:
        return None
    if original is None or patch is None:
        merged: Items = (original if patch is None else patch) or []
    elif replacing:
        merged = patch
    elif patch and isinstance(patch[0], dict) and listing.merge_key:
        _item_type(original, patch)
        count = len(original)
        merged = _merge_items(original, patch, listing)[0]
        # Kubernetes deletes and appends within the original's array, so new items stand where deleted ones made room.
        original = merged[:count]
    else:
        merged = merge_list(original, patch, listing, deleting=False)
    _item_type(original or [], patch or [])
    return _interleave(merged, order, original or [], listing.merge_key)


def _item_type(*lists: Items) -> str:
    """The Go type of all items. Refuses lists of lists, mixed lists, and lists that are all empty."""
    found = ""
    for item in (v for items in lists for v in items):
        current = go_type(item)
        if item is None or current == "[]interface {}":
            raise status.generic(422)
        if found and current != found:
            raise fault(f"list element types are not identical: {go_sprint(list(lists))}")
        found = current
    if not found:
        raise fault("no elements in any of the given slices")
    return found


def _obey_item_directives(original: Items, patch: Items, key: str) -> tuple[Items, Items]:
    """Items with $patch: `delete` takes the item with that key out, `replace` replaces the whole list."""
    plain: Items = []
    replace = False
    for item in patch:
        directive = item.get(DIRECTIVE)
        if DIRECTIVE not in item:
            plain.append(item)
        elif directive == DELETE:
            if key not in item:
                raise _no_merge_key(item, key)
            original = [v for v in original if not (key in v and json_equal(v[key], item[key]))]
        elif directive == REPLACE:
            replace = True
        elif directive == MERGE:
            raise fault("merging lists cannot yet be specified in the patch")
        else:
            raise bad_directive(directive, item)
    return (plain, []) if replace else (original, plain)


def _check_order(patch: Items, order: Items, key: str) -> None:
    """The items of patch must appear in order, in the same relative order (deletions aside)."""
    if not order or not patch:
        return
    items = patch
    if key:
        for item in patch:
            if not isinstance(item, dict):
                raise bad_argument(_MAP, item)
        items = [v for v in patch if v.get(DIRECTIVE) != DELETE]
    at = position = 0
    while at < len(items) and position < len(order):
        if isinstance(items[at], dict) and DIRECTIVE in items[at]:
            at += 1
            continue
        if _same_key(items[at], order[position], key):
            at += 1
        position += 1
    if at < len(items) and position >= len(order):
        raise fault(
            f"The order in patch list:\n{go_sprint(patch)}\n doesn't match $setElementOrder list:\n{go_sprint(order)}\n"
        )


def _same_key(left: Any, right: Any, key: str) -> bool:
    if not key:
        return json_equal(left, right)
    for item in (left, right):
        if not isinstance(item, dict):
            raise bad_argument(_MAP, item)
        if key not in item:
            raise _no_merge_key(item, key)
    return json_equal(left[key], right[key])


def _interleave(merged: Items, patch_order: Items, server_order: Items, key: str) -> Items:
    """Order merged: items of patch_order as there, the others as in server_order, interleaved by server_order."""
    if key:
        for item in merged + patch_order + server_order:
            if not isinstance(item, dict):
                raise bad_argument(_MAP, item)
            if key not in item:
                raise _no_merge_key(item, key)
    first = _positions(patch_order, key)
    before = _positions(server_order, key)
    wanted = [v for v in merged if _slot(v, key) in first]
    others = [v for v in merged if _slot(v, key) not in first]
    wanted.sort(key=lambda v: first[_slot(v, key)])
    others.sort(key=lambda v: before.get(_slot(v, key), len(before)))
    out: Items = []
    for item in wanted:
        place = before.get(_slot(item, key))
        while others and place is not None and before.get(_slot(others[0], key), place) < place:
            out.append(others.pop(0))
        out.append(item)
    return out + others


def _slot(item: Any, key: str) -> tuple[type, Any]:
    """Something hashable that tells items apart as Go's == does."""
    value = item[key] if key else item
    return type(value), go_sprint(value) if isinstance(value, dict | list) else value


def _positions(items: Items, key: str) -> dict[tuple[type, Any], int]:
    out: dict[tuple[type, Any], int] = {}
    for i, item in enumerate(items):
        out.setdefault(_slot(item, key), i)
    return out


def _find(items: Items, key: str, value: Any) -> int:
    for i, item in enumerate(items):
        if not isinstance(item, dict):
            raise fault(f"value for key {i} is not a map")
        if key in item and json_equal(item[key], value):
            return i
    return -1


def _contains(items: Items, value: Any) -> bool:
    return any(json_equal(v, value) for v in items)


def _unique(items: Items) -> Items:
    out: dict[tuple[type, Any], Any] = {}
    for item in items:
        out.setdefault(_slot(item, ""), item)
    return list(out.values())
