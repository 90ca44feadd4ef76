"""Taking fields out of a value under its type.

Source: sigs.k8s.io/structured-merge-diff/typed/remove.go at v6.3.2, which keeps a container that ran empty because of
what was taken out of it.
"""

from __future__ import annotations

from typing import Any

from podbay.apiserver.patch.fieldset import SELF, FieldSet, has_member
from podbay.apiserver.patch.shapes import Shape
from podbay.apiserver.patch.typed import item_element

__all__ = ["remove"]


def remove(value: Any, fields: FieldSet, shape: Shape) -> Any:
    """The value without the members of fields; None when nothing is left. The input is not changed."""
    if shape.is_scalar:
        return value
    if shape.leaf or not value:
        return None
    if isinstance(value, dict) and shape.is_map:
        return _remove_from_map(value, fields, shape)
    if isinstance(value, list) and shape.is_list:
        return _remove_from_list(value, fields, shape)
    return None


def _remove_from_map(value: dict[str, Any], fields: FieldSet, shape: Shape) -> dict[str, Any] | None:
    out: dict[str, Any] = {}
    touched = False
    for key, item in value.items():
        element = f"f:{key}"
        if has_member(fields, element):
            continue
        node, inner = fields.get(element), shape.member(key)
        if _has_paths(node) and inner is not None:
            touched = True
            item = _inside(item, node, inner)
        out[key] = item
    return out if out or touched else None


def _remove_from_list(value: list[Any], fields: FieldSet, shape: Shape) -> list[Any] | None:
    assert shape.element is not None
    out: list[Any] = []
    touched = False
    for item in value:
        element = item_element(item, shape)
        if has_member(fields, element):
            continue
        node = fields.get(element)
        if _has_paths(node):
            touched = True
            item = _inside(item, node, shape.element)
        out.append(item)
    return out if out or touched else None


def _inside(item: Any, node: Any, shape: Shape) -> Any:
    left = remove(item, node, shape)
    if left is None and isinstance(item, dict | list):
        return type(item)()
    return left


def _has_paths(node: FieldSet | None) -> bool:
    return bool(node) and (len(node or ()) > 1 or SELF not in (node or ()))
