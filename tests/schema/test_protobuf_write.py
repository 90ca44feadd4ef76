"""Protobuf both ways: what kubectl sends, byte for byte, and a round trip of every struct of the table.

kubectl-1.37-protobuf.json: bodies as kubectl 1.37 sent them, beside what the same command prints in JSON with
`--dry-run=client -o json` (for reviews and tokens, which have no dry run: what the command line says).
"""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podbay.apiserver.schema.decode import normalize
from podbay.apiserver.schema.gotext import print_duration
from podbay.apiserver.schema.protobuf import open_envelope, read_message
from podbay.apiserver.schema.protobuf_write import struct_of, write_event, write_message, write_object
from podbay.apiserver.schema.types import Schema, Type

SCHEMA = Schema.load()
SENT = orjson.loads(Path(__file__).with_name("kubectl-1.37-protobuf.json").read_bytes())
STRUCTS = [n for n in SCHEMA.names() if any(f.numbers for f in SCHEMA.struct(n).fields.values())]


def without_type(obj: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in obj.items() if key not in ("apiVersion", "kind")}


def of_object(obj: dict[str, Any]) -> str:
    found = struct_of(SCHEMA, obj["apiVersion"], obj["kind"])
    assert found is not None
    return found.key


@pytest.mark.parametrize("sent", SENT, ids=[case["command"][:40] for case in SENT])
def test_what_kubectl_sends_is_read(sent: dict[str, Any]) -> None:
    obj = sent["object"]
    api_version, kind, message = open_envelope(base64.b64decode(sent["body"]))
    assert (api_version, kind) == (obj["apiVersion"], obj["kind"])
    name = of_object(obj)
    found = normalize(SCHEMA, name, read_message(SCHEMA, name, message))
    assert found == without_type(normalize(SCHEMA, name, obj))


@pytest.mark.parametrize("sent", SENT, ids=[case["command"][:40] for case in SENT])
def test_we_write_as_kubectl_does(sent: dict[str, Any]) -> None:
    obj = normalize(SCHEMA, of_object(sent["object"]), sent["object"])
    assert write_object(SCHEMA, obj) == base64.b64decode(sent["body"])


_INT32 = st.integers(-(2**31), 2**31 - 1)
_JSON = st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.text(max_size=5), max_size=2)
_MOMENT = st.datetimes().map(lambda moment: moment.isoformat(timespec="seconds") + "Z")
_SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(max_size=200),
    "bool": st.booleans(),
    "int32": _INT32,
    "int64": st.integers(-(2**63), 2**63 - 1),
    "bytes": st.binary(max_size=20).map(lambda data: base64.b64encode(data).decode()),
    "quantity": st.sampled_from(["0", "1", "-5", "500m", "1Gi", "1e3", "12E", "0.5", 7]),
    "intOrString": _INT32 | st.text(max_size=8),
    "time": _MOMENT,
    "duration": st.integers(-(2**62), 2**62).map(print_duration),
    "microTime": st.datetimes().map(lambda moment: moment.isoformat(timespec="microseconds") + "Z"),
    "fieldsV1": _JSON,
    "raw": _JSON,
}


def values(type_: Type, depth: int) -> st.SearchStrategy[Any]:
    if type_.kind == "struct":
        return objects(type_.struct.key, depth)
    if type_.elem is None:
        return _SCALARS[type_.kind]
    if type_.kind == "map":
        return st.dictionaries(st.text(max_size=8), values(type_.elem, depth), max_size=3)
    return st.lists(values(type_.elem, depth), max_size=3)


@st.composite
def objects(draw: st.DrawFn, name: str, depth: int = 3) -> dict[str, Any]:
    """Some fields of a struct, fewer the deeper it is."""
    fields = [f for f in SCHEMA.struct(name).fields.values() if f.numbers]
    chosen = draw(st.lists(st.sampled_from(fields), unique_by=lambda f: f.name, max_size=2 * depth))
    if depth == 0:
        chosen = []
    return {f.name: draw(values(f.type, depth - 1)) for f in chosen}


def makes_the_round_trip(name: str, raw: dict[str, Any]) -> None:
    obj = without_type(normalize(SCHEMA, name, raw))
    message = write_message(SCHEMA, name, obj)
    assert without_type(normalize(SCHEMA, name, read_message(SCHEMA, name, message))) == obj


@settings(max_examples=150, deadline=None)
@given(data=st.data(), name=st.sampled_from(STRUCTS))
def test_round_trip(data: st.DataObject, name: str) -> None:
    makes_the_round_trip(name, data.draw(objects(name)))


_FULL: dict[str, Any] = {
    "string": "ü",
    "bool": True,
    "int32": -(2**31),
    "int64": 2**63 - 1,
    "bytes": "AP8=",
    "quantity": "1500m",
    "intOrString": "50%",
    "time": "0987-06-05T04:03:02Z",
    "duration": "1m0.5s",
    "microTime": "2024-02-29T23:59:59.000007Z",
    "fieldsV1": {"f:spec": {"f:a": {}}},
    "raw": {"a": [1, None]},
}


def full(type_: Type) -> Any:
    if type_.kind == "struct":
        return {f.name: full(f.type) for f in type_.struct.fields.values() if f.numbers}
    if type_.elem is None:
        return _FULL[type_.kind]
    return {"k": full(type_.elem), "": full(type_.elem)} if type_.kind == "map" else [full(type_.elem)] * 2


@pytest.mark.parametrize("name", STRUCTS)
def test_every_field_makes_the_round_trip(name: str) -> None:
    fields = SCHEMA.struct(name).fields.values()
    raw = {f.name: full(f.type) for f in fields if f.numbers}
    makes_the_round_trip(name, raw)
    for field, value in raw.items():
        makes_the_round_trip(name, {field: value})


@pytest.mark.parametrize("name", STRUCTS)
def test_every_field_has_a_number_of_its_own(name: str) -> None:
    fields = SCHEMA.struct(name).fields.values()
    numbers = [field.numbers for field in fields if field.numbers]
    assert len(set(numbers)) == len(numbers)
    assert {field.name for field in fields if not field.numbers} <= {"apiVersion", "kind"}


def test_long_lists_and_maps() -> None:
    """A body may hold hundreds of thousands of items; reading one more must not copy the rest."""
    labels = {f"key-{n}": "v" for n in range(100_000)}
    metadata = {"labels": labels, "finalizers": [""] * 200_000}
    message = write_message(SCHEMA, "meta/v1.ObjectMeta", metadata)
    assert read_message(SCHEMA, "meta/v1.ObjectMeta", message)["labels"] == labels


def test_structs_that_come_twice_are_merged() -> None:
    message = b"\x0a\x03\x0a\x01p" + b"\x0a\x03\x1a\x01n"
    assert read_message(SCHEMA, "core/v1.Pod", message) == {"metadata": {"name": "p", "namespace": "n"}}


def test_numbers_packed_or_not() -> None:
    written = write_message(SCHEMA, "core/v1.PodSecurityContext", {"supplementalGroups": [1, 300]})
    assert written == b"\x20\x01\x20\xac\x02"
    for message in (written, b"\x22\x03\x01\xac\x02"):
        assert read_message(SCHEMA, "core/v1.PodSecurityContext", message) == {"supplementalGroups": [1, 300]}


def test_watch_event() -> None:
    frame = write_event("ADDED", b"k8s\x00abc")
    (length,) = struct.unpack(">I", frame[:4])
    assert length == len(frame) - 4
    event = read_message(SCHEMA, "meta/v1.WatchEvent", frame[4:])
    assert event["type"] == "ADDED"
    assert frame[4:] == b"\x0a\x05ADDED" + b"\x12\x09\x0a\x07k8s\x00abc"


def test_kinds_without_protobuf() -> None:
    for kind in ("Table", "Unheard"):
        with pytest.raises(ValueError, match=f"object \\*v1.{kind} does not implement the protobuf"):
            write_object(SCHEMA, {"apiVersion": "meta.k8s.io/v1", "kind": kind})
