"""Objects as `application/vnd.kubernetes.protobuf`, byte for byte as Kubernetes' generated code writes them.

Go clients ask for this form before JSON. Writers are compiled once per struct, by the type table; the argument must
be in normal form (normalize.py). Reading is in protobuf.py. Source: the generated marshallers of k8s.io/api, the
custom ones of apimachinery (Time, MicroTime, Quantity), runtime.Unknown and the length-delimited framer.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Any, Final, TypeAlias

import orjson

from podbay.apiserver.schema.gotext import duration_nanos
from podbay.apiserver.schema.protobuf import PREFIX
from podbay.apiserver.schema.types import Field, Schema, Struct, Type

__all__ = ["struct_of", "write_event", "write_message", "write_object"]

Object: TypeAlias = Mapping[str, Any]
Write: TypeAlias = Callable[[Any], bytes]
"""A non-null value, as a field with its tag or as the bytes behind the tag."""
Step: TypeAlias = tuple[str, Write, bytes]
"""JSON name, writer, and what stands for an absent value. No name: an embedded struct, written from the whole object."""

_VARINT, _BYTES = 0, 2
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)
_UNSIGNED: Final = (1 << 64) - 1
_UNENCODED: Final = b"\x1a\x00\x22\x00"
"""contentEncoding and contentType of runtime.Unknown, both always empty."""


def struct_of(schema: Schema, api_version: str, kind: str) -> Struct | None:
    """The struct of a kind, None when the table has none."""
    group, _, version = api_version.rpartition("/")
    package = group.partition(".")[0] or "core"
    for name in (f"{package}/{version or 'v1'}.{kind}", f"{package}/v1.{kind}", f"meta/v1.{kind}"):
        if name in schema:
            return schema.struct(name)
    return None


def write_object(schema: Schema, obj: Object) -> bytes:
    """A whole body: object, list or Status with apiVersion and kind. ValueError for a kind that has no protobuf form."""
    api_version, kind = obj.get("apiVersion", ""), obj["kind"]  # discovery tells no apiVersion
    struct = struct_of(schema, api_version, kind)
    if struct is None or not any(field.numbers for field in struct.fields.values()):
        raise ValueError(
            f"object *v1.{kind} does not implement the protobuf marshalling interface and cannot be encoded to a "
            "protobuf message"
        )
    type_meta = _field(b"\x0a", api_version.encode()) + _field(b"\x12", kind.encode())
    return b"".join((PREFIX, _field(b"\x0a", type_meta), _field(b"\x12", _writer(struct)(obj)), _UNENCODED))


def write_event(event_type: str, body: bytes) -> bytes:
    """One frame of a watch: the length in four bytes, then a meta.v1 WatchEvent around a whole body."""
    event = _field(b"\x0a", event_type.encode()) + _field(b"\x12", _field(b"\x0a", body))
    return len(event).to_bytes(4, "big") + event


def write_message(schema: Schema, name: str, obj: Object) -> bytes:
    """The message of a struct, without an envelope."""
    return _writer(schema.struct(name))(obj)


@cache
def _writer(struct: Struct) -> Write:
    return _join([field for field in struct.fields.values() if field.numbers], 0)


def _join(fields: list[Field], depth: int) -> Write:
    """Fields in the order of their numbers; what shares a number and goes deeper is an embedded struct."""
    by_number: dict[int, list[Field]] = {}
    for field in fields:
        by_number.setdefault(field.numbers[depth], []).append(field)
    steps = tuple(_step(number, by_number[number], depth) for number in sorted(by_number))

    def write(obj: Object) -> bytes:
        get = obj.get
        return b"".join(
            [
                writer(obj) if not name else absent if (value := get(name)) is None else writer(value)
                for name, writer, absent in steps
            ]
        )

    return write


def _step(number: int, fields: list[Field], depth: int) -> Step:
    field = fields[0]
    if len(field.numbers) > depth + 1:
        return "", _tagged(number, _join(fields, depth + 1)), b""
    type_ = field.type
    if type_.kind == "map":
        assert type_.elem is not None
        return field.name, _map_writer(number, type_.elem), b""
    if type_.kind == "list" and type_.go.startswith("[]"):
        assert type_.elem is not None
        return field.name, _list_writer(number, type_.elem), b""
    write = _field_writer(number, type_)
    # Go writes every field that is no pointer, empty or not.
    nothing = type_.pointer or type_.kind in ("list", "bytes")
    return field.name, write, b"" if nothing else _zero(number, type_)


def _zero(number: int, type_: Type) -> bytes:
    if type_.kind in ("time", "microTime", "raw", "fieldsV1"):
        return _field(_tag(number, _BYTES), b"")
    if type_.kind == "struct":
        return _field_writer(number, type_)({})
    return _field_writer(number, type_)({"string": "", "quantity": "0", "duration": "0s"}.get(type_.kind, 0))


def _field_writer(number: int, type_: Type) -> Write:
    """Tag and value of a single field."""
    kind = type_.kind
    if kind in ("bool", "int32", "int64"):
        return _number_writer(number)
    if kind == "struct":
        return _struct_writer(number, type_)
    return _tagged(number, _value_writer(type_))


def _value_writer(type_: Type) -> Write:
    if type_.kind == "list":
        # A Go list type with a name of its own is a message around its items.
        assert type_.elem is not None
        return _list_writer(1, type_.elem)
    return _VALUES[type_.kind]


def _number_writer(number: int) -> Write:
    tag = _tag(number, _VARINT)
    small = _heads(tag)
    return lambda value: small[value] if 0 <= value < 128 else tag + _varint(value)


def _struct_writer(number: int, type_: Type) -> Write:
    """Compiles the struct on first use: most of the table is never touched by one cluster."""
    tag = _tag(number, _BYTES)
    heads, compiled = _heads(tag), list[Write]()

    def write(value: Object) -> bytes:
        if not compiled:
            compiled.append(_writer(type_.struct))
        data = compiled[0](value)
        length = len(data)
        return (heads[length] if length < 128 else tag + _varint(length)) + data

    return write


def _list_writer(number: int, elem: Type) -> Write:
    write = _field_writer(number, elem)
    return lambda items: b"".join([write(item) for item in items])


def _map_writer(number: int, elem: Type) -> Write:
    tag, write = _tag(number, _BYTES), _field_writer(2, elem)
    return lambda value: b"".join(
        [_field(tag, _field(b"\x0a", key.encode()) + write(value[key])) for key in sorted(value)]
    )


def _tagged(number: int, write: Write) -> Write:
    tag = _tag(number, _BYTES)
    heads = _heads(tag)

    def write_tagged(value: Any) -> bytes:
        data = write(value)
        length = len(data)
        return (heads[length] if length < 128 else tag + _varint(length)) + data

    return write_tagged


def _field(tag: bytes, data: bytes) -> bytes:
    return tag + _varint(len(data)) + data


@cache
def _heads(tag: bytes) -> tuple[bytes, ...]:
    """The tag with each number that takes one byte behind it: nearly all lengths and numbers."""
    return tuple(tag + bytes((n,)) for n in range(128))


def _tag(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _varint(value: int) -> bytes:
    """A negative number goes out in ten bytes, as 64 bits."""
    value &= _UNSIGNED
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


@lru_cache(maxsize=2048)
def _time(text: str | None) -> bytes:
    if not text:
        return b""  # in a map
    seconds = (datetime.fromisoformat(text) - _EPOCH) // _SECOND
    return b"\x08" + _varint(seconds) + b"\x10\x00"


def _micro_time(text: str) -> bytes:
    moment = datetime.fromisoformat(text)
    return b"\x08" + _varint((moment - _EPOCH) // _SECOND) + b"\x10" + _varint(moment.microsecond * 1000)


def _int_or_string(value: int | str) -> bytes:
    if isinstance(value, str):
        return b"\x08\x01\x10\x00" + _field(b"\x1a", value.encode())
    return b"\x08\x00\x10" + _varint(value) + b"\x1a\x00"


def _json(value: Any) -> bytes:
    return _field(b"\x0a", orjson.dumps(value))


_VALUES: Final[dict[str, Write]] = {
    "string": str.encode,
    "bytes": base64.b64decode,
    "time": _time,
    "microTime": _micro_time,
    "duration": lambda value: b"\x08" + _varint(duration_nanos(value)),
    "quantity": lambda value: _field(b"\x0a", str(value).encode()),
    "intOrString": _int_or_string,
    "fieldsV1": _json,
    "raw": _json,
}
