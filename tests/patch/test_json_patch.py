"""JSON patch: the golden table, limits, and bodies as they come off the wire."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from patch_parts import ids, table

from podbay.apiserver.patch.json_patch import MAX_COPY_BYTES, apply_json_patch, unknown_operation_fields
from podbay.errors import ApiError


@pytest.mark.parametrize("case", table("json_patch"), ids=ids)
@pytest.mark.parametrize("on_the_wire", [False, True], ids=["parsed", "bytes"])
def test_golden(case: dict[str, Any], on_the_wire: bool) -> None:
    patch = orjson.dumps(case["patch"]) if on_the_wire else case["patch"]
    strict = not case.get("ignore")
    if "code" not in case:
        assert apply_json_patch(case["doc"], patch, strict=strict) == case["result"]
        return
    with pytest.raises(ApiError) as caught:
        apply_json_patch(case["doc"], patch, strict=strict)
    assert caught.value.code == case["code"]
    if case["code"] == 422:
        assert caught.value.message == "the server rejected our request due to an error in our request"
        assert caught.value.reason == "Invalid"
    else:
        assert caught.value.message == case["message"]


def test_too_many_operations() -> None:
    operation = {"op": "test", "path": "/a", "value": 1}
    assert apply_json_patch({"a": 1}, [operation] * 10_000) == {"a": 1}
    with pytest.raises(ApiError) as caught:
        apply_json_patch({"a": 1}, [operation] * 10_001)
    assert caught.value.code == 413
    assert caught.value.reason == "RequestEntityTooLarge"
    assert caught.value.message == (
        "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
    )


def test_copies_may_not_add_up_to_more_than_the_limit() -> None:
    doc = {"big": "x" * (MAX_COPY_BYTES // 4)}
    copies = [{"op": "copy", "from": "/big", "path": f"/c{i}"} for i in range(3)]
    assert len(apply_json_patch(doc, copies)) == 4
    with pytest.raises(ApiError) as caught:
        apply_json_patch(doc, [*copies, {"op": "copy", "from": "/big", "path": "/c4"}])
    assert caught.value.code == 422


def test_body_that_is_no_json() -> None:
    with pytest.raises(ApiError) as caught:
        apply_json_patch({}, b"[{")
    assert caught.value.code == 400
    assert caught.value.message == "error decoding patch: unexpected end of JSON input"


def test_nesting_beyond_every_type() -> None:
    patch = b'[{"op":"add","path":"/a","value":' + b"[" * 900 + b"]" * 900 + b"}]"
    with pytest.raises(ApiError) as caught:
        apply_json_patch({}, patch)
    assert caught.value.code == 400


def test_inputs_stay_as_they_are() -> None:
    doc, value = {"a": {"b": [1]}}, {"k": "v"}
    patch = [{"op": "add", "path": "/c", "value": value}, {"op": "add", "path": "/c/l", "value": 1}]
    apply_json_patch(doc, patch)
    assert doc == {"a": {"b": [1]}}
    assert value == {"k": "v"}


def test_fields_that_no_operation_has() -> None:
    operations = [{"op": "add", "path": "/a", "value": 1}, {"op": "remove", "path": "/a", "foo": 1}]
    assert unknown_operation_fields(operations) == ['json patch unknown field "[1].foo"']


_keys = st.sampled_from(["a", "b", "~", "/", "é"])
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(_keys, _values, max_size=4), _keys, _values)
def test_what_was_added_passes_its_test_and_can_be_removed(doc: dict[str, Any], key: str, value: Any) -> None:
    pointer = "/" + key.replace("~", "~0").replace("/", "~1")
    added = apply_json_patch(
        doc,
        [{"op": "add", "path": pointer, "value": value}, {"op": "test", "path": pointer, "value": value}],
    )
    assert added == {**doc, key: value}
    removed = apply_json_patch(added, [{"op": "remove", "path": pointer}])
    assert removed == {k: v for k, v in doc.items() if k != key}
