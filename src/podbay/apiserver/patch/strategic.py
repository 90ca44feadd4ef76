"""Strategic merge patch: a merge patch that knows from the Go types how lists merge.

Source: k8s.io/apimachinery/pkg/util/strategicpatch (applying only, never creating) and the reading of its errors in
k8s.io/apiserver/pkg/endpoints/handlers/patch.go. How one list merges is in strategic_lists.py. Errors that the
server does not classify come back as it sends them: code 500 without a reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from podbay.apiserver import status
from podbay.apiserver.patch.govalues import clone, go_type, json_kind, read_json
from podbay.apiserver.patch.strategic_lists import (
    DELETE,
    DIRECTIVE,
    MERGE,
    REPLACE,
    Listing,
    bad_argument,
    bad_directive,
    fault,
    merge_list,
    order_by_directive,
)
from podbay.apiserver.schema.types import Schema, Type
from podbay.objects.meta import Object

__all__ = ["apply_strategic_merge_patch"]

_RETAIN_KEYS = "$retainKeys"
_DELETE_FROM = "$deleteFromPrimitiveList"
_SET_ORDER = "$setElementOrder"
_GO_KIND = {"list": "slice", "float": "float64", "bytes": "slice"}


def apply_strategic_merge_patch(schema: Schema, type_name: str, doc: Object, patch: bytes | Any) -> Object:
    """Merge patch into a copy of doc, an object of the struct type_name, and return it.

    Raises ApiError: 400 for a patch that is malformed, 422 for lists of lists, 500 where Kubernetes answers so
    (a list item without its merge key, an unknown directive).
    """
    try:
        parsed = read_json(patch)
    except ValueError as error:
        raise status.bad_request(str(error)) from None
    if parsed is None:
        parsed = {}
    if not isinstance(parsed, dict):
        raise status.bad_request(
            f"json: cannot unmarshal {json_kind(parsed)} into Go value of type map[string]interface {{}}"
        )
    return _merge_map(clone(doc), clone(parsed), schema.type(schema.struct(type_name).key))


def _merge_map(original: Object, patch: Object, type_: Type) -> Object:
    """Merge patch into original; both are used up."""
    if DIRECTIVE in patch:
        return _obey_directive(patch)
    _retain_keys(original, patch)
    _merge_ordered_lists(original, patch, type_)
    for key, value in patch.items():
        deleting = key.startswith(_DELETE_FROM)
        name = _list_name(key, _DELETE_FROM, "invalid patch format of primitive list") if deleting else key
        if value is None:
            original.pop(name, None)
        elif name in original and go_type(original[name]) == go_type(value):
            _merge_value(original, name, value, type_, deleting=deleting)
        elif not deleting:
            _set(original, name, _without_nulls(value))
    return original


def _obey_directive(patch: Object) -> Object:
    directive = patch[DIRECTIVE]
    if directive == REPLACE:
        del patch[DIRECTIVE]
        return patch
    if directive == DELETE:
        return {}
    raise bad_directive(directive, patch)


def _merge_value(original: Object, name: str, value: Any, type_: Type, *, deleting: bool) -> None:
    if isinstance(value, dict):
        inner, strategy, _ = _field(type_, name)
        original[name] = value if strategy == REPLACE else _merge_map(original[name], value, inner)
    elif isinstance(value, list):
        listing, strategy = _listing(type_, name)
        if deleting or strategy == MERGE:
            value = merge_list(original[name], value, listing, deleting=deleting)
        original[name] = value
    else:
        original[name] = value


def _set(original: Object, name: str, value: Any) -> None:
    """Take over a patch value where there is nothing to merge with, unless it is only a directive."""
    kept, keep = _without_directives(value)
    if keep:
        original[name] = kept
    else:
        original.pop(name, None)


def _retain_keys(original: Object, patch: Object) -> None:
    """$retainKeys: drop what the list does not name; the patch may set nothing else."""
    if _RETAIN_KEYS not in patch:
        return
    keys = patch.pop(_RETAIN_KEYS)
    if not isinstance(keys, list):
        raise status.bad_request("invalid patch format of retainKeys")
    for key, value in patch.items():
        if value is not None and not key.startswith((_DELETE_FROM, _SET_ORDER)) and key not in keys:
            raise status.bad_request("invalid patch format of retainKeys")
    for key in [k for k in original if k not in keys]:
        del original[key]


def _merge_ordered_lists(original: Object, patch: Object, type_: Type) -> None:
    """Lists that come with $setElementOrder are merged and ordered first, then taken out of the patch."""
    for directive in [k for k in patch if k.startswith(_SET_ORDER)]:
        order = patch.pop(directive)
        if not isinstance(order, list):
            raise bad_argument("[]interface {}", order)
        name = _list_name(directive, _SET_ORDER, "invalid patch format of setElementOrder list")
        for side in (original, patch):
            if name in side and not isinstance(side[name], list):
                raise bad_argument("[]interface {}", side[name])
        listing, strategy = _listing(type_, name)
        before, change = original.get(name), patch.get(name)
        if change is not None and before is None:
            change = _without_directives(change)[0]
        merged = order_by_directive(before, change, order, listing, replacing=strategy != MERGE)
        if merged is not None:
            original[name] = merged
            patch.pop(name, None)


def _list_name(key: str, prefix: str, message: str) -> str:
    """The field that a `$directive/field` key speaks of."""
    head, slash, name = key.partition("/")
    if not slash or head != prefix:
        raise status.bad_request(message)
    return name


def _field(type_: Type, name: str) -> tuple[Type, str, str]:
    """Type, strategy (retainKeys aside) and merge key of a field. Fails as the server does for unknown ones."""
    if type_.kind in ("list", "map", "string", "bool", "int32", "int64", "uint8", "float", "bytes", "any"):
        kind = _GO_KIND.get(type_.kind, type_.kind)
        raise fault(f"merging an object in json but data type is not struct, instead is: {kind}")
    found = type_.struct.fields.get(name) if type_.kind == "struct" else None
    if found is None:
        struct = type_.go.rsplit(".", 1)[-1]
        raise fault(f'unable to find api field in struct {struct} for the json field "{name}"')
    strategies = [s for s in found.patch_strategies if s != "retainKeys"]
    return found.type, strategies[0] if strategies else "", found.patch_merge_key


def _listing(type_: Type, name: str) -> tuple[Listing, str]:
    inner, strategy, merge_key = _field(type_, name)
    elem = inner.elem
    if inner.kind != "list" or elem is None:
        raise fault(f"expected slice or array type, but got: {_GO_KIND.get(type_.kind, type_.kind)}")
    if elem.kind == "list":
        raise fault("unexpected slice of slice")
    merge_item: Callable[[Object, Object], Object] = lambda old, new: _merge_map(old, new, elem)  # noqa: E731
    return Listing(merge_key, _GO_KIND.get(elem.kind, elem.kind), merge_item), strategy


def _without_nulls(value: Any) -> Any:
    """Drop null members of objects, also inside lists; null list items stay."""
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(v) for v in value]
    return value


def _without_directives(value: Any) -> tuple[Any, bool]:
    """A patch value without the objects that carry $patch; False when the value is such an object itself."""
    if isinstance(value, dict):
        if DIRECTIVE in value:
            return None, False
        kept = {k: _without_directives(v) for k, v in value.items()}
        return {k: v for k, (v, keep) in kept.items() if keep}, True
    if isinstance(value, list):
        return [v for v, keep in map(_without_directives, value) if keep], True
    return value, True
