"""JSON merge patch: the golden table, bodies off the wire, and the law that ties making and applying."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from patch_parts import ids, table

from podbay.apiserver.patch.merge_patch import apply_merge_patch, create_merge_patch
from podbay.errors import ApiError


@pytest.mark.parametrize("case", table("merge_patch"), ids=ids)
@pytest.mark.parametrize("on_the_wire", [False, True], ids=["parsed", "bytes"])
def test_golden(case: dict[str, Any], on_the_wire: bool) -> None:
    patch = orjson.dumps(case["patch"]) if on_the_wire else case["patch"]
    strict = not case.get("ignore")
    if "message" not in case:
        assert apply_merge_patch(case["doc"], patch, strict=strict) == case["result"]
        return
    with pytest.raises(ApiError) as caught:
        apply_merge_patch(case["doc"], patch, strict=strict)
    assert (caught.value.code, caught.value.reason) == (400, "BadRequest")
    assert caught.value.message == case["message"]


def test_body_that_is_no_json() -> None:
    with pytest.raises(ApiError) as caught:
        apply_merge_patch({}, b"{]")
    assert caught.value.code == 400
    assert caught.value.message == (
        "error decoding patch: invalid character ']' looking for beginning of object key string"
    )


def test_doc_stays_as_it_is() -> None:
    doc = {"a": {"b": 1}}
    assert apply_merge_patch(doc, {"a": {"b": 2}}) == {"a": {"b": 2}}
    assert doc == {"a": {"b": 1}}


_keys = st.sampled_from(["a", "b", "c"])
# A merge patch cannot say null, so documents here hold none.
_values = st.recursive(
    st.booleans() | st.integers(-3, 3) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3),
    max_leaves=10,
)
_documents = st.dictionaries(_keys, _values, max_size=3)


@given(_documents, _documents)
def test_the_difference_of_two_documents_leads_from_one_to_the_other(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    assert apply_merge_patch(old, create_merge_patch(old, new)) == new


@given(_documents, st.dictionaries(_keys, _values | st.none(), max_size=3))
def test_applying_twice_is_applying_once(doc: dict[str, Any], patch: dict[str, Any]) -> None:
    once = apply_merge_patch(doc, patch)
    assert apply_merge_patch(once, patch) == once
