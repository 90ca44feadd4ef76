"""Sets of field paths: canonical form, printing, order, and the laws of their algebra."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from patch_parts import SCHEMA

from podbay.apiserver.patch.fieldset import (
    FieldSet,
    canonical,
    difference,
    has_member,
    intersection,
    key_element,
    name_members,
    ordered,
    paths,
    printed,
    recursive_difference,
    set_of,
    union,
    value_element,
)
from podbay.apiserver.patch.shapes import Shapes

_elements = st.sampled_from(
    ["f:a", "f:b", 'k:{"name":"x"}', 'k:{"port":10}', 'k:{"port":9}', 'v:"s"', "v:1", "i:0"]
)
_path_sets = st.sets(st.lists(_elements, min_size=1, max_size=3).map(tuple), max_size=8)


def _tree(of: set[tuple[str, ...]]) -> FieldSet:
    """The set by its definition, one path after the other."""
    out: FieldSet = {}
    for path in of:
        one: FieldSet = {}
        for element in reversed(path):
            one = {element: one}
        out = union(out, one)
    return out


def _paths(tree: FieldSet) -> set[tuple[str, ...]]:
    return set(paths(tree))


@given(_path_sets)
def test_a_set_has_the_paths_that_were_put_in(wanted: set[tuple[str, ...]]) -> None:
    assert _paths(_tree(wanted)) == wanted


@given(_path_sets, _path_sets)
def test_algebra(left: set[tuple[str, ...]], right: set[tuple[str, ...]]) -> None:
    a, b = _tree(left), _tree(right)
    before = orjson.dumps([a, b])
    assert _paths(union(a, b)) == left | right
    assert _paths(intersection(a, b)) == left & right
    assert _paths(difference(a, b)) == left - right
    below = {p for p in left if not any(p[:n] in right for n in range(1, len(p) + 1))}
    assert _paths(recursive_difference(a, b)) == below
    assert orjson.dumps([a, b]) == before


@given(_path_sets, _path_sets)
def test_canonical_form_is_unique(left: set[tuple[str, ...]], right: set[tuple[str, ...]]) -> None:
    one, other = union(_tree(left), _tree(right)), union(_tree(right), _tree(left))
    assert orjson.dumps(ordered(one)) == orjson.dumps(ordered(other))


@given(_path_sets)
def test_reading_what_was_written(wanted: set[tuple[str, ...]]) -> None:
    tree = ordered(_tree(wanted))
    assert orjson.dumps(canonical(orjson.loads(orjson.dumps(tree)))) == orjson.dumps(tree)


def test_nothing_taken_away_gives_the_same_set_back() -> None:
    tree = set_of("a.b", "c")
    assert difference(tree, set_of("a", "d.e")) is tree


def test_order_of_elements() -> None:
    shuffled = ["i:0", "v:10", 'k:{"p":10}', "f:b", 'v:"a"', 'k:{"p":9}', "f:a", "v:9", 'k:{"p":"x"}']
    tree: FieldSet = {"f:top": {".": {}, **{element: {} for element in shuffled}}}
    assert list(ordered(tree)["f:top"]) == [
        ".",
        "f:a",
        "f:b",
        'k:{"p":9}',
        'k:{"p":10}',
        'k:{"p":"x"}',
        "v:9",
        "v:10",
        'v:"a"',
        "i:0",
    ]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("f:spec", 'k:{"containerPort":80,"protocol":"TCP"}'), '.spec[containerPort=80,protocol="TCP"]'),
        (("f:finalizers", 'v:"a/b"'), '.finalizers[="a/b"]'),
        (("f:l", "v:true", "i:3"), ".l[=true][3]"),
        (("f:metadata", "f:annotations", "f:a.b/c"), ".metadata.annotations.a.b/c"),
    ],
)
def test_printing(path: tuple[str, ...], text: str) -> None:
    assert printed(path) == text


def test_elements_keep_types_apart() -> None:
    assert key_element("p", 1) == 'k:{"p":1}'
    assert key_element("p", True) == 'k:{"p":true}'
    assert key_element("p", 2.0) == 'k:{"p":2}'
    assert value_element("<&>") == 'v:"\\u003c\\u0026\\u003e"'


def test_members() -> None:
    tree: dict[str, Any] = {"f:a": {".": {}, "f:b": {}}, "f:c": {"f:d": {}}}
    assert has_member(tree, "f:a")
    assert not has_member(tree, "f:c")
    assert not has_member(tree, "f:x")


def test_declared_fields_become_members() -> None:
    pod = Shapes(SCHEMA).of("core/v1.Pod")
    tree: FieldSet = {
        "f:spec": {"f:containers": {'k:{"name":"c"}': {"f:resources": {"f:limits": {"f:cpu": {}}}}}}
    }
    assert [printed(p) for p in paths(name_members(tree, pod))] == [
        ".spec",
        ".spec.containers",
        '.spec.containers[name="c"].resources',
        '.spec.containers[name="c"].resources.limits',
        '.spec.containers[name="c"].resources.limits.cpu',
    ]
