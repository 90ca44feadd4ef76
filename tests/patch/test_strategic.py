"""Strategic merge patch: the golden table, and that repeating a patch changes nothing."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from patch_parts import SCHEMA, ids, table

from podbay.apiserver.patch.strategic import apply_strategic_merge_patch
from podbay.errors import ApiError

POD = "io.k8s.api.core.v1.Pod"


@pytest.mark.parametrize("case", table("strategic"), ids=ids)
@pytest.mark.parametrize("on_the_wire", [False, True], ids=["parsed", "bytes"])
def test_golden(case: dict[str, Any], on_the_wire: bool) -> None:
    patch = orjson.dumps(case["patch"]) if on_the_wire else case["patch"]
    type_name = case.get("type", POD)
    if "message" not in case:
        assert apply_strategic_merge_patch(SCHEMA, type_name, case["doc"], patch) == case["result"]
        return
    with pytest.raises(ApiError) as caught:
        apply_strategic_merge_patch(SCHEMA, type_name, case["doc"], patch)
    assert caught.value.code == case["code"]
    assert caught.value.message == case["message"]


def test_body_that_is_no_json() -> None:
    with pytest.raises(ApiError) as caught:
        apply_strategic_merge_patch(SCHEMA, POD, {}, b"")
    assert (caught.value.code, caught.value.message) == (400, "unexpected end of JSON input")


def test_inputs_stay_as_they_are() -> None:
    doc = {"spec": {"containers": [{"name": "a", "env": [{"name": "X"}]}]}}
    patch = {"spec": {"containers": [{"name": "a", "$patch": "delete"}, {"name": "b"}]}}
    before = orjson.dumps([doc, patch])
    apply_strategic_merge_patch(SCHEMA, POD, doc, patch)
    assert orjson.dumps([doc, patch]) == before


_names = st.sampled_from(["a", "b", "c", "d"])
_env = st.lists(
    st.fixed_dictionaries({"name": _names}, optional={"value": st.sampled_from(["1", "2"])}),
    max_size=3,
    unique_by=lambda e: e["name"],
)
_containers = st.lists(
    st.fixed_dictionaries(
        {"name": _names}, optional={"image": _names, "args": st.lists(_names), "env": _env}
    ),
    max_size=4,
    unique_by=lambda c: c["name"],
)
_pods = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {},
            optional={
                "labels": st.dictionaries(_names, _names, max_size=3),
                "finalizers": st.lists(_names, unique=True, max_size=3),
            },
        ),
        "spec": st.fixed_dictionaries({}, optional={"containers": _containers, "nodeName": _names}),
    }
)


@given(_pods, _pods)
def test_repeating_a_patch_changes_nothing(doc: dict[str, Any], patch: dict[str, Any]) -> None:
    once = apply_strategic_merge_patch(SCHEMA, POD, doc, patch)
    assert apply_strategic_merge_patch(SCHEMA, POD, once, patch) == once


@given(_pods, _pods)
def test_everything_the_patch_says_is_in_the_result(doc: dict[str, Any], patch: dict[str, Any]) -> None:
    result = apply_strategic_merge_patch(SCHEMA, POD, doc, patch)
    patched = {c["name"]: c for c in result["spec"].get("containers", ())}
    for container in patch["spec"].get("containers", ()):
        assert patched[container["name"]].items() >= {
            (k, v) for k, v in container.items() if isinstance(v, str)
        }
    for container in doc["spec"].get("containers", ()):
        assert container["name"] in patched
    labels = {**doc["metadata"].get("labels", {}), **patch["metadata"].get("labels", {})}
    assert result["metadata"].get("labels", {}) == labels
