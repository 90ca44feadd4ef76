"""Bodies in `application/vnd.kubernetes.protobuf`, read into JSON values by the type table.

kubectl and other Go clients send the bodies of typed calls like this (`kubectl create namespace`), with no second
try in JSON. Reading only: answers go out as JSON or YAML, which the same clients list in Accept. Source:
apimachinery's runtime/serializer/protobuf and the generated code of k8s.io/api, whose error sentences these are.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final, TypeAlias

import orjson

from podbay.apiserver.schema.gotext import print_duration
from podbay.apiserver.schema.types import Field, Schema, Struct, Type

__all__ = ["open_envelope", "read_message"]

PREFIX: Final = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_END_OF_DATA: Final = "unexpected EOF"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Index: TypeAlias = "dict[int, Field | Index]"
"""Protobuf number -> field, or the numbers inside an embedded struct."""


def open_envelope(data: bytes) -> tuple[str, str, bytes]:
    """(apiVersion, kind, message) of a body. ValueError carries Go's sentence."""
    if not data:
        raise ValueError("empty data")
    if not data.startswith(PREFIX):
        raise ValueError(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
        )
    if len(data) == len(PREFIX):
        raise ValueError("empty body")
    api_version = kind = ""
    message = b""
    for number, wire, value in _fields(data[len(PREFIX) :], "Unknown"):
        if number == 1:
            texts = dict.fromkeys((1, 2), "")
            for inner, inner_wire, text in _fields(_as_bytes(value, wire, "TypeMeta"), "TypeMeta"):
                if inner in texts:
                    texts[inner] = _text(_as_bytes(text, inner_wire, "APIVersion" if inner == 1 else "Kind"))
            api_version, kind = texts[1], texts[2]
        elif number == 2:
            message = _as_bytes(value, wire, "Raw")
    return api_version, kind, message


def read_message(schema: Schema, name: str, data: bytes) -> dict[str, Any]:
    """The message of a struct as JSON values, not yet in normal form. ValueError carries Go's sentence."""
    struct = schema.struct(name)
    out: dict[str, Any] = {}
    _read_into(out, _index(struct), data, struct.go_name)
    return out


@cache
def _index(struct: Struct) -> Index:
    out: Index = {}
    for field in struct.fields.values():
        place = out
        for number in field.numbers[:-1]:
            inner = place.setdefault(number, {})
            assert isinstance(inner, dict)
            place = inner
        if field.numbers:
            place[field.numbers[-1]] = field
    return out


def _read_into(out: dict[str, Any], index: Index, data: bytes, name: str) -> None:
    for number, wire, value in _fields(data, name):
        found = index.get(number)
        if isinstance(found, dict):
            _read_into(out, found, _as_bytes(value, wire, name), name)
        elif found is not None:
            out[found.name] = _field(found, wire, value, out.get(found.name))


def _field(field: Field, wire: int, value: int | bytes, old: Any) -> Any:
    type_, name = field.type, field.name[:1].upper() + field.name[1:]
    if type_.elem is None:
        return _value(type_, wire, value, name)
    if type_.kind == "map":
        key, item = _entry(type_.elem, _as_bytes(value, wire, name), name)
        return {**(old or {}), key: item}
    if not type_.go.startswith("[]"):
        return _named_list(type_, _as_bytes(value, wire, name), name)
    if wire == _BYTES and type_.elem.kind in ("int32", "int64", "bool"):
        assert isinstance(value, bytes)
        return [*(old or ()), *(_value(type_.elem, _VARINT, n, name) for n in _packed(value))]
    return [*(old or ()), _value(type_.elem, wire, value, name)]


def _entry(elem: Type, data: bytes, name: str) -> tuple[str, Any]:
    key, item = "", _value(elem, _BYTES, b"", name) if elem.kind not in ("int32", "int64", "bool") else 0
    for number, wire, value in _fields(data, name):
        if number == 1:
            key = _text(_as_bytes(value, wire, name))
        elif number == 2:
            item = _value(elem, wire, value, name)
    return key, item


def _named_list(type_: Type, data: bytes, name: str) -> list[Any]:
    """A Go list type with a name of its own is a message around its items."""
    assert type_.elem is not None
    return [
        _value(type_.elem, wire, value, name) for number, wire, value in _fields(data, name) if number == 1
    ]


def _value(type_: Type, wire: int, value: int | bytes, name: str) -> Any:
    kind = type_.kind
    if kind in ("bool", "int32", "int64", "uint8"):
        if wire != _VARINT or isinstance(value, bytes):
            raise _wrong_wire(wire, name)
        return bool(value) if kind == "bool" else _signed(value, 32 if kind == "int32" else 64)
    data = _as_bytes(value, wire, name)
    match kind:
        case "string":
            return _text(data)
        case "bytes":
            return base64.b64encode(data).decode()
        case "struct":
            struct = type_.struct
            out: dict[str, Any] = {}
            _read_into(out, _index(struct), data, struct.go_name)
            return out
        case "list":
            return _named_list(type_, data, name)
        case "time" | "microTime":
            return _moment(data, kind)
        case "quantity":
            return _text(_only(data, 1, name)) or "0"
        case "intOrString":
            return _int_or_string(data)
        case "duration":
            return print_duration(_number(data, 1, name))
    return _json(_only(data, 1, name))


def _moment(data: bytes, kind: str) -> str | None:
    if not data:
        return None
    seconds, nanos = _number(data, 1, "Seconds"), _number(data, 2, "Nanos")
    try:
        moment = _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000 if kind == "microTime" else 0)
    except OverflowError:
        raise ValueError("timestamp is out of range") from None
    text = moment.strftime("%m-%dT%H:%M:%S")
    return f"{moment.year:04d}-{text}" + (f".{moment.microsecond:06d}Z" if kind == "microTime" else "Z")


def _int_or_string(data: bytes) -> int | str:
    if _number(data, 1, "Type"):
        return _text(_only(data, 3, "StrVal"))
    return _signed(_number(data, 2, "IntVal"), 32)


def _json(data: bytes) -> Any:
    try:
        return orjson.loads(data) if data else None
    except orjson.JSONDecodeError:
        return None


def _only(data: bytes, wanted: int, name: str) -> bytes:
    found = b""
    for number, wire, value in _fields(data, name):
        if number == wanted:
            found = _as_bytes(value, wire, name)
    return found


def _number(data: bytes, wanted: int, name: str) -> int:
    found = 0
    for number, wire, value in _fields(data, name):
        if number == wanted:
            if isinstance(value, bytes):
                raise _wrong_wire(wire, name)
            found = _signed(value, 64)
    return found


def _fields(data: bytes, name: str) -> Iterator[tuple[int, int, int | bytes]]:
    """(field number, wire type, value) of a message; numbers as they stand, unsigned."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 4:
            raise ValueError(f"proto: {name}: wiretype end group for non-group")
        if number <= 0 or number >= 1 << 29:
            raise ValueError(f"proto: {name}: illegal tag {number} (wire type {wire})")
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire == _BYTES:
            length, at = _varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"proto: illegal wireType {wire}")
        if length > len(data) - at:
            raise ValueError(_END_OF_DATA)
        yield number, wire, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if shift >= 64:
            raise ValueError("proto: integer overflow")
        if at >= len(data):
            raise ValueError(_END_OF_DATA)
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7


def _packed(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _as_bytes(value: int | bytes, wire: int, name: str) -> bytes:
    if wire != _BYTES or not isinstance(value, bytes):
        raise _wrong_wire(wire, name)
    return value


def _wrong_wire(wire: int, name: str) -> ValueError:
    return ValueError(f"proto: wrong wireType = {wire} for field {name}")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
