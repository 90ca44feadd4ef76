"""Bodies in `application/vnd.kubernetes.protobuf`, read into JSON values by the type table.

kubectl and other Go clients send the bodies of typed calls like this (`kubectl create namespace`), with no second
try in JSON. Readers are compiled once per struct. Writing is in protobuf_write.py. Source: apimachinery's
runtime/serializer/protobuf and the generated code of k8s.io/api, whose error sentences these are.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, TypeAlias

import orjson

from podbay.apiserver.schema.gotext import print_duration
from podbay.apiserver.schema.types import Field, Schema, Struct, Type

__all__ = ["PREFIX", "open_envelope", "read_message"]

PREFIX: Final = b"k8s\x00"
"""What every body begins with; the rest is a runtime.Unknown."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_NUMBERS: Final = frozenset({"bool", "int32", "int64", "uint8"})
_END_OF_DATA: Final = "unexpected EOF"
_EPOCH: Final = datetime(1970, 1, 1)

Step: TypeAlias = Callable[[dict[str, Any], int, "int | bytes"], None]
"""Puts one field (wire type, value) into the object."""
Read: TypeAlias = Callable[[int, "int | bytes"], Any]
"""A value out of wire type and what stood there."""


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
    _read_into(out, _steps(struct), data, struct.go_name)
    return out


def _read_into(out: dict[str, Any], steps: dict[int, Step], data: bytes, name: str) -> None:
    for number, wire, value in _fields(data, name):
        step = steps.get(number)
        if step is not None:
            step(out, wire, value)


@cache
def _steps(struct: Struct) -> dict[int, Step]:
    return _nested_steps([f for f in struct.fields.values() if f.numbers], 0, struct.go_name)


def _nested_steps(fields: list[Field], depth: int, name: str) -> dict[int, Step]:
    """Steps by field number; what shares a number and goes deeper is an embedded struct."""
    embedded: dict[int, list[Field]] = {}
    steps: dict[int, Step] = {}
    for field in fields:
        number = field.numbers[depth]
        if len(field.numbers) == depth + 1:
            steps[number] = _step(field)
        else:
            embedded.setdefault(number, []).append(field)
    for number, inner in embedded.items():
        steps[number] = _embedded_step(_nested_steps(inner, depth + 1, name), name)
    return steps


def _embedded_step(steps: dict[int, Step], name: str) -> Step:
    return lambda out, wire, value: _read_into(out, steps, _as_bytes(value, wire, name), name)


def _step(field: Field) -> Step:
    key, type_ = field.name, field.type
    name = type_.struct.go_name if key == "metadata" else key[:1].upper() + key[1:]
    if type_.elem is not None:
        return _map_step(key, type_.elem, name) if type_.kind == "map" else _list_step(key, type_, name)
    if type_.kind == "struct":
        return _struct_step(key, type_, name)
    read = _read(type_, name)

    def step(out: dict[str, Any], wire: int, value: int | bytes) -> None:
        out[key] = read(wire, value)

    return step


def _struct_step(key: str, type_: Type, name: str) -> Step:
    """A struct that comes twice is merged, as Go does."""

    def step(out: dict[str, Any], wire: int, value: int | bytes) -> None:
        struct = type_.struct
        _read_into(out.setdefault(key, {}), _steps(struct), _as_bytes(value, wire, name), struct.go_name)

    return step


def _list_step(key: str, type_: Type, name: str) -> Step:
    elem = type_.elem
    assert elem is not None
    if not type_.go.startswith("[]"):
        read_all = _read(type_, name)
        return lambda out, wire, value: out.setdefault(key, []).extend(read_all(wire, value))
    read = _read(elem, name)
    packable = elem.kind in _NUMBERS

    def step(out: dict[str, Any], wire: int, value: int | bytes) -> None:
        items = out.setdefault(key, [])
        if packable and isinstance(value, bytes) and wire == _BYTES:
            items.extend(read(_VARINT, number) for number in _packed(value))
        else:
            items.append(read(wire, value))

    return step


def _map_step(key: str, elem: Type, name: str) -> Step:
    read = _read(elem, name)
    zero: Any = (
        0 if elem.kind in _NUMBERS else None if elem.kind in ("fieldsV1", "raw") else read(_BYTES, b"")
    )

    def step(out: dict[str, Any], wire: int, value: int | bytes) -> None:
        entry_key, item = "", zero
        for number, inner_wire, inner in _fields(_as_bytes(value, wire, name), name):
            if number == 1:
                entry_key = _text(_as_bytes(inner, inner_wire, name))
            elif number == 2:
                item = read(inner_wire, inner)
        out.setdefault(key, {})[entry_key] = item

    return step


def _read(type_: Type, name: str) -> Read:
    kind = type_.kind
    if kind in _NUMBERS:
        return _number_reader(kind, name)
    if kind == "struct":
        return _struct_reader(type_, name)
    if kind == "list":
        return _named_list_reader(type_, name)
    convert = _CONVERTERS.get(kind, _json)
    return lambda wire, value: convert(_as_bytes(value, wire, name))


def _number_reader(kind: str, name: str) -> Read:
    bits = 32 if kind == "int32" else 64

    def read(wire: int, value: int | bytes) -> int | bool:
        if wire != _VARINT or isinstance(value, bytes):
            raise _wrong_wire(wire, name)
        return bool(value) if kind == "bool" else _signed(value, bits)

    return read


def _struct_reader(type_: Type, name: str) -> Read:
    def read(wire: int, value: int | bytes) -> dict[str, Any]:
        struct = type_.struct
        out: dict[str, Any] = {}
        _read_into(out, _steps(struct), _as_bytes(value, wire, name), struct.go_name)
        return out

    return read


def _named_list_reader(type_: Type, name: str) -> Read:
    """A Go list type with a name of its own is a message around its items."""
    assert type_.elem is not None
    read_item = _read(type_.elem, name)

    def read(wire: int, value: int | bytes) -> list[Any]:
        fields = _fields(_as_bytes(value, wire, name), name)
        return [read_item(inner_wire, inner) for number, inner_wire, inner in fields if number == 1]

    return read


def _moment(data: bytes) -> str | None:
    if not data:
        return None
    return _shift(_number(data, 1, "Seconds"), 0).isoformat(timespec="seconds") + "Z"


def _micro_moment(data: bytes) -> str | None:
    if not data:
        return None
    moment = _shift(_number(data, 1, "Seconds"), _number(data, 2, "Nanos") // 1000)
    return moment.isoformat(timespec="microseconds") + "Z"


def _shift(seconds: int, micros: int) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=seconds, microseconds=micros)
    except OverflowError:
        raise ValueError("timestamp is out of range") from None


def _int_or_string(data: bytes) -> int | str:
    if _number(data, 1, "Type"):
        return _text(_only(data, 3, "StrVal"))
    return _signed(_number(data, 2, "IntVal"), 32)


def _json(data: bytes) -> Any:
    raw = _only(data, 1, "Raw")
    try:
        return orjson.loads(raw) if raw else None
    except orjson.JSONDecodeError:
        return None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


_CONVERTERS: Final[dict[str, Callable[[bytes], Any]]] = {
    "string": _text,
    "bytes": lambda data: base64.b64encode(data).decode(),
    "time": _moment,
    "microTime": _micro_moment,
    "quantity": lambda data: _text(_only(data, 1, "String_")) or "0",
    "intOrString": _int_or_string,
    "duration": lambda data: print_duration(_number(data, 1, "Duration")),
}


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
    at, end = 0, len(data)
    while at < end:
        tag = data[at]
        at += 1
        if tag >= 0x80:
            tag, at = _varint(data, at - 1)
        number, wire = tag >> 3, tag & 7
        if wire == 4:
            raise ValueError(f"proto: {name}: wiretype end group for non-group")
        if not 0 < number < 1 << 31:
            raise ValueError(f"proto: {name}: illegal tag {_signed(number, 32)} (wire type {tag})")
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
        if length >= 1 << 63:
            raise ValueError("proto: negative length found during unmarshaling")
        if length > end - at:
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
