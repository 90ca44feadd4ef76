"""Sets of field paths, held as the FieldsV1 tree that goes over the wire, and their algebra.

A set is a dict from path elements (`f:name`, `k:{"name":"a"}`, `v:"a"`, `i:0`) to nodes; a node is again such a
dict. An element is a member when its node is empty or holds `"."`. Nothing here changes a tree it was given, and
results share parts with their inputs. Source: sigs.k8s.io/structured-merge-diff/fieldpath (set.go, serialize.go).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, TypeAlias

import orjson

from podbay.apiserver.field import go_quote
from podbay.apiserver.patch.govalues import go_json, go_sprint
from podbay.apiserver.patch.shapes import Shape

__all__ = [
    "SELF",
    "FieldSet",
    "canonical",
    "difference",
    "has_member",
    "intersection",
    "key_element",
    "name_members",
    "ordered",
    "paths",
    "printed",
    "recursive_difference",
    "set_of",
    "union",
    "value_element",
]

FieldSet: TypeAlias = dict[str, Any]

SELF = "."
"""Inside a node: the node's own path is in the set."""
_MEMBER: FieldSet = {SELF: {}}


def set_of(*dotted: str) -> FieldSet:
    """A set of plain field paths: set_of("status", "metadata.deletionTimestamp")."""
    out: FieldSet = {}
    for path in dotted:
        *parents, last = path.split(".")
        node = out
        for name in parents:
            node = node.setdefault(f"f:{name}", {})
        node[f"f:{last}"] = {}
    return out


def has_member(tree: FieldSet, element: str) -> bool:
    node = tree.get(element)
    return node is not None and (not node or SELF in node)


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    """Paths of either; elements in canonical order when both sides are."""
    if not left or not right:
        return left or right
    out = dict(left)
    grown = False
    for element, node in right.items():
        if element == SELF:
            continue
        mine = out.get(element)
        if mine is None:
            grown = True
            out[element] = node
        elif mine != node:
            member = not mine or not node or SELF in mine or SELF in node
            out[element] = _node(member, union(_children(mine), _children(node)))
    return dict(sorted(out.items(), key=_by_element)) if grown else out


def intersection(left: FieldSet, right: FieldSet) -> FieldSet:
    out: FieldSet = {}
    for element, node in left.items():
        other = right.get(element)
        if other is None or element == SELF:
            continue
        member = (not node or SELF in node) and (not other or SELF in other)
        children = intersection(node, other) if node and other else {}
        if member or children:
            out[element] = _node(member, children)
    return out


def difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """Paths of left that are not in right. Gives left itself back when nothing goes."""
    return _subtract(left, right, recursive=False)


def recursive_difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """Paths of left that are not in right, nor below a path in right."""
    return _subtract(left, right, recursive=True)


def _subtract(left: FieldSet, right: FieldSet, *, recursive: bool) -> FieldSet:
    out: FieldSet | None = None
    for element, other in right.items():
        node = left.get(element)
        if node is None or element == SELF:
            continue
        gone = not other or SELF in other
        if gone and recursive:
            rest: FieldSet | None = None
        else:
            children = _subtract(node, other, recursive=recursive) if node and other else node
            member = (not node or SELF in node) and not gone
            if children is node and member == (not node or SELF in node):
                continue
            children = _children(children)
            rest = _node(member, children) if member or children else None
        out = dict(left) if out is None else out
        if rest is None:
            del out[element]
        else:
            out[element] = rest
    return left if out is None else out


def name_members(tree: FieldSet, shape: Shape | None) -> FieldSet:
    """The set with every declared field that has members below it added (Go: EnsureNamedFieldsAreMembers)."""
    out: FieldSet = {}
    for element, node in tree.items():
        if not node:
            out[element] = node
            continue
        declared = element[2:] in shape.fields if shape is not None and element.startswith("f:") else False
        child = name_members(_children(node), _below(shape, element))
        out[element] = _node(declared or SELF in node, child)
    return out


def _below(shape: Shape | None, element: str) -> Shape | None:
    if shape is None:
        return None
    if element.startswith("f:"):
        return shape.member(element[2:])
    return shape.element if shape.is_list and element.startswith("k:") else None


def paths(tree: FieldSet) -> Iterator[tuple[str, ...]]:
    """Every path of the set, in the order in which Kubernetes lists conflicts: members first, then what is below."""
    elements = sorted((e for e in tree if e != SELF), key=_order)
    for element in elements:
        if has_member(tree, element):
            yield (element,)
    for element in elements:
        for below in paths(tree[element]):
            yield (element, *below)


def printed(path: tuple[str, ...]) -> str:
    """A path as messages show it: .spec.containers[name="a"].image"""
    return "".join(map(_printed_element, path))


@lru_cache(maxsize=4096)
def _printed_element(element: str) -> str:
    kind, text = element[0], element[2:]
    if kind == "f":
        return f".{text}"
    if kind == "k":
        fields = orjson.loads(text)
        return "[" + ",".join(f"{k}={_printed_value(v)}" for k, v in sorted(fields.items())) + "]"
    return f"[={_printed_value(orjson.loads(text))}]" if kind == "v" else f"[{text}]"


def _printed_value(value: Any) -> str:
    if value is None:
        return "null"
    return go_quote(value) if isinstance(value, str) else go_sprint(value)


@lru_cache(maxsize=4096, typed=True)
def value_element(value: Any) -> str:
    """The path element of a set's item."""
    return f"v:{go_json(_integral(value))}"


@lru_cache(maxsize=4096, typed=True)
def key_element(*names_and_values: Any) -> str:
    """The path element of a list item by its keys: key_element("containerPort", 80, "protocol", "TCP")."""
    pairs = zip(names_and_values[::2], names_and_values[1::2], strict=True)
    return f"k:{go_json({name: _integral(value) for name, value in pairs})}"


def _integral(value: Any) -> Any:
    """2.0 as Go writes it, 2."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def ordered(tree: FieldSet) -> FieldSet:
    """The same set with all elements in canonical order."""
    if not tree:
        return tree
    return {element: ordered(node) for element, node in sorted(tree.items(), key=_by_element)}


def canonical(tree: Any) -> FieldSet:
    """A set as a client sent it, checked and in canonical form. ValueError with the reason when it is none.

    Elements of a kind that nobody knows are dropped, as a newer version may have written them.
    """
    if not isinstance(tree, dict):
        raise ValueError("a set of fields must be an object")
    out: FieldSet = {}
    for element, node in tree.items():
        if element == SELF:
            out[SELF] = {}
            continue
        known = _canonical_element(element)
        if known is not None:
            below = canonical({} if node is None else node)
            out[known] = union(out[known], below) if known in out else below
    for element, node in out.items():
        if element != SELF and SELF in node and len(node) == 1:
            out[element] = {}
    return ordered(out)


def _canonical_element(element: str) -> str | None:
    if len(element) < 2:
        raise ValueError("key must be 2 characters long:")
    if element[1] != ":":
        raise ValueError(f"missing colon: {element}")
    kind, text = element[0], element[2:]
    if kind == "f":
        return element
    if kind == "i":
        return f"i:{int(text)}"
    if kind not in "kv":
        return None
    value = orjson.loads(text)
    if kind == "k" and not isinstance(value, dict):
        raise ValueError(f"not an object: {text}")
    return f"{kind}:{go_json(value)}"


def _children(node: FieldSet) -> FieldSet:
    if SELF not in node:
        return node
    return {element: below for element, below in node.items() if element != SELF}


def _node(member: bool, children: FieldSet) -> FieldSet:
    if member and children:
        return {**_MEMBER, **children}
    return children


def _by_element(item: tuple[str, Any]) -> tuple[Any, ...]:
    return _order(item[0])


@lru_cache(maxsize=16384)
def _order(element: str) -> tuple[Any, ...]:
    """Sort key: the node itself, fields by name, keyed items by their keys, set items by value, indices."""
    if element == SELF:
        return (0,)
    kind, text = element[0], element[2:]
    if kind == "f":
        return (1, text)
    if kind == "k":
        fields = orjson.loads(text)
        return (2, tuple((name, _value_order(fields[name])) for name in sorted(fields)))
    return (3, _value_order(orjson.loads(text))) if kind == "v" else (4, int(text))


def _value_order(value: Any) -> tuple[int, Any]:
    if isinstance(value, bool):
        return (2, value)
    if isinstance(value, int | float):
        return (0, value)
    return (1, value) if isinstance(value, str) else (3, go_json(value))
