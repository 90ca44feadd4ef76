"""Any body: decoding gives an object or kube-apiserver's refusal, never an error of ours."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from podbay.apiserver.schema import gojson, goyaml
from podbay.apiserver.schema.decode import Target, decode, decode_options, normalize, normalize_strict
from podbay.apiserver.schema.explain import Explainer
from podbay.apiserver.schema.normalize import normalizer
from podbay.apiserver.schema.types import Schema, Struct, Type
from podbay.apiserver.schema.yamlprint import to_yaml
from podbay.errors import ApiError

SCHEMA = Schema.load()
POD = Target("Pod", "v1", "io.k8s.api.core.v1.Pod")
TYPES = [
    "core/v1.Pod",
    "core/v1.Secret",
    "core/v1.Event",
    "core/v1.ResourceQuota",
    "rbac/v1.Role",
    "core/v1.Node",
]
MODES = st.sampled_from(["Strict", "Warn", "Ignore"])

words = st.text(max_size=8)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-5, 5),
    st.floats(allow_nan=False, allow_infinity=False),
    words,
    st.sampled_from(["1Gi", "500m", "1e3", "2024-01-01T00:00:00Z", "QUJD", "0", "5s", "Always", ""]),
)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
    max_leaves=8,
)
FITTING: dict[str, st.SearchStrategy[Any]] = {
    "string": words,
    "bool": st.booleans(),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "bytes": st.sampled_from(["", "QQ==", "QUJD"]),
    "quantity": st.sampled_from(["1", "500m", "1Gi", "0", "1e3", "-2"]) | st.integers(0, 9),
    "intOrString": st.integers(-9, 9) | words,
    "time": st.sampled_from(["2024-01-01T00:00:00Z", "2024-01-01T00:00:00+01:00"]),
    "duration": st.just("1m0.5s"),
    "microTime": st.just("2024-01-01T00:00:00.000001Z"),
    "fieldsV1": st.just({"f:a": {}}),
    "raw": st.just({"a": 1}),
}


def of_type(type_: Type, depth: int) -> st.SearchStrategy[Any]:
    """Values that fit the type, now and then null."""
    if type_.kind == "struct":
        return of_struct(type_.struct, depth - 1)
    if type_.elem is not None:
        elem = of_type(type_.elem, depth)
        return (
            st.lists(elem, max_size=2) if type_.kind == "list" else st.dictionaries(words, elem, max_size=2)
        )
    return st.one_of(FITTING[type_.kind], FITTING[type_.kind], st.none())


def of_struct(struct: Struct, depth: int = 4) -> st.SearchStrategy[Any]:
    if depth <= 0:
        return st.just({})
    names = st.lists(st.sampled_from(sorted(struct.fields)), max_size=4, unique=True)

    @st.composite
    def build(draw: Any) -> Any:
        return {name: draw(of_type(struct.fields[name].type, depth)) for name in draw(names)}

    return build()


@st.composite
def damaged(draw: Any, struct: Struct) -> Any:
    """A fitting object with something put where it does not belong."""
    obj = draw(of_struct(struct))
    place = obj
    for _ in range(draw(st.integers(0, 4))):
        inner = [
            v
            for v in (place.values() if isinstance(place, dict) else place)
            if isinstance(v, dict | list) and v
        ]
        if not inner:
            break
        place = draw(st.sampled_from(inner))
    if isinstance(place, dict):
        place[draw(st.sampled_from(sorted(struct.fields)) | words)] = draw(anything)
    else:
        place.append(draw(anything))
    return obj


def attempt(data: Any, **options: Any) -> Any:
    try:
        return decode(SCHEMA, POD, data, **options)
    except ApiError as error:
        assert error.code == 400
        assert orjson.dumps(error.status())
        return error.message


@given(st.binary(max_size=200), MODES, st.sampled_from(["json", "yaml"]))
def test_any_bytes(data: bytes, mode: Any, media_type: Any) -> None:
    attempt(data, media_type=media_type, field_validation=mode)


@given(
    st.text(alphabet='{}[]",:0123456789.eE+-truefalsn \\u\n\t&*!|>#', max_size=60),
    st.sampled_from(["json", "yaml"]),
)
def test_almost_documents(text: str, media_type: Any) -> None:
    attempt(text.encode(), media_type=media_type)


@given(anything, MODES)
def test_any_json(value: Any, mode: Any) -> None:
    attempt(json.dumps(value).encode(), field_validation=mode)


@given(damaged(SCHEMA.struct("core/v1.Pod")), MODES)
def test_damaged_objects(value: Any, mode: Any) -> None:
    spaced = attempt(json.dumps(value).encode(), field_validation=mode)
    compact = attempt(json.dumps(value, separators=(",", ":")).encode(), field_validation=mode)
    # The first bytes of a body that is no object at all are part of the answer.
    assert spaced == compact or "unrecognized" in spaced


@settings(max_examples=60)
@given(st.sampled_from(TYPES).flatmap(lambda name: st.tuples(st.just(name), of_struct(SCHEMA.struct(name)))))
def test_fitting_objects_normalise_once_and_for_all(pair: tuple[str, Any]) -> None:
    name, obj = pair
    before = json.dumps(obj, sort_keys=True)
    once = normalize(SCHEMA, name, obj)
    assert normalize(SCHEMA, name, once) == once
    assert json.dumps(obj, sort_keys=True) == before
    checked = normalize_strict(SCHEMA, name, obj)
    assert (checked.obj, checked.warnings) == (once, [])


@settings(max_examples=60)
@given(damaged(SCHEMA.struct("core/v1.Pod")))
def test_fast_and_slow_agree(obj: Any) -> None:
    try:
        fast = normalizer(SCHEMA).struct("core/v1.Pod")(obj)
    except (ValueError, TypeError):
        return
    slow = Explainer(SCHEMA).decode("core/v1.Pod", gojson.to_tree(obj))
    assert normalizer(SCHEMA).struct("core/v1.Pod")(slow) == fast


@given(st.binary(max_size=80) | anything.map(lambda v: json.dumps(v).encode()))
def test_delete_options(data: bytes) -> None:
    try:
        decode_options(SCHEMA, data)
    except ApiError as error:
        assert error.code == 400


@given(anything)
def test_scanner_reads_what_the_standard_library_reads(value: Any) -> None:
    text = json.dumps(value)
    try:
        read = gojson.to_plain(gojson.parse(text.encode()))
    except ValueError as error:
        assert "float64" in str(error)
    else:
        expected = json.loads(text, parse_int=lambda s: int(s) if -(2**63) <= int(s) < 2**63 else float(s))
        assert read == expected


@given(anything)
def test_yaml_reads_back_what_it_prints(value: Any) -> None:
    printed = to_yaml(value)
    read, duplicates = goyaml.load(printed)
    assert duplicates == []
    assert close(read, value)


def close(read: Any, value: Any) -> bool:
    if isinstance(value, dict):
        return read.keys() == value.keys() and all(close(read[k], value[k]) for k in value)
    if isinstance(value, list):
        return len(read) == len(value) and all(close(r, v) for r, v in zip(read, value, strict=True))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return bool(read == value)
    return math.isclose(read, value, rel_tol=1e-12)


def test_deep_nesting_is_an_answer_not_a_crash() -> None:
    deep = b'{"a":' * 9000 + b"1" + b"}" * 9000
    assert attempt(deep).warnings == ['unknown field "a"']
    in_metadata = b'{"metadata":{"managedFields":[{"fieldsV1":' + deep + b"}]}}"
    assert isinstance(attempt(in_metadata), str)
    assert isinstance(attempt(b"[" * 100_000), str)
    assert isinstance(attempt(b"- " * 50_000, media_type="yaml"), str)
    assert isinstance(attempt(b"{a: " * 5000, media_type="yaml"), str)


def test_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert "document contains excessive aliasing" in attempt("\n".join(lines).encode(), media_type="yaml")
