"""What a round trip through the Go struct leaves of an object: the fast half of decoding.

Unknown fields and nulls go, empty `omitempty` values go, zero values that Go always prints come (`resources: {}`),
quantities, times and base64 get their canonical text. Compiled once per type into closures, because every write
goes through here. It says only *that* a value does not fit (`Misfit`); explain.py says why, in Go's words.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, Final, TypeAlias

import orjson

from podbay.apiserver.schema import gotext
from podbay.apiserver.schema.types import Field, Schema, Struct, Type
from podbay.objects.quantity import Quantity

__all__ = ["Normalizer", "normalizer"]

Convert: TypeAlias = Callable[[Any], Any]
"""Takes a non-null JSON value, returns its normal form, or None when Go would leave the field out.
Raises ValueError (any sub-class, TypeError too) when the value does not fit."""

_PLAIN_STRING = 0
_CONVERT = 1


class Normalizer:
    """Compiled converters of one schema. `unknown_seen` is set when a struct dropped a field it does not have."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._structs: dict[str, Convert] = {}
        self.unknown_seen = False

    def struct(self, name: str) -> Convert:
        """The converter of a struct, by key or definition name. Its argument is not changed; parts may be shared."""
        key = self._schema.struct(name).key
        found = self._structs.get(key)
        if found is None:
            found = self._structs[key] = self._compile_struct(self._schema.struct(key))
        return found

    def _compile_struct(self, struct: Struct) -> Convert:
        steps: dict[str, tuple[int, Convert]] = {}
        always: list[tuple[str, Callable[[], Any]]] = []
        for name, field in struct.fields.items():
            if field.kind == "string" and not field.pointer and field.omitempty:
                steps[name] = (_PLAIN_STRING, str)
            else:
                steps[name] = (_CONVERT, self._field(field))
            if _always_printed(field):
                always.append((name, self._zero_maker(field.type)))
        return self._struct_closure(steps, tuple(always))

    def _struct_closure(
        self, steps: dict[str, tuple[int, Convert]], always: tuple[tuple[str, Callable[[], Any]], ...]
    ) -> Convert:
        step_of = steps.get

        def convert(value: Any) -> dict[str, Any]:
            if type(value) is not dict:
                raise ValueError
            out: dict[str, Any] = {}
            for name, item in value.items():
                step = step_of(name)
                if step is None:
                    self.unknown_seen = True
                elif item is None:
                    continue
                elif step[0] == _PLAIN_STRING:
                    if type(item) is not str:
                        raise ValueError
                    if item:
                        out[name] = item
                else:
                    item = step[1](item)
                    if item is not None:
                        out[name] = item
            for name, zero in always:
                if name not in out:
                    out[name] = zero()
            return out

        return convert

    def _field(self, field: Field) -> Convert:
        keep_zero = field.pointer or not field.omitempty
        kind = field.kind
        if kind == "struct":
            return self._lazy_struct(field.type.struct_name)
        if kind == "list":
            return self._list(field.type)
        if kind == "map":
            return self._map(field.type)
        scalar = _SCALARS[kind]
        if keep_zero or kind in (
            "time",
            "microTime",
            "quantity",
            "intOrString",
            "fieldsV1",
            "raw",
            "any",
            "duration",
        ):
            return scalar
        return lambda value: scalar(value) or None

    def _lazy_struct(self, key: str) -> Convert:
        """Compiles the struct on first use: most of a type table is never touched by one cluster."""
        cell: list[Convert] = []

        def convert(value: Any) -> Any:
            if not cell:
                cell.append(self.struct(key))
            return cell[0](value)

        return convert

    def _element(self, type_: Type) -> Convert:
        if type_.kind == "struct":
            return self._lazy_struct(type_.struct_name)
        if type_.kind == "list":
            inner = self._list(type_)
            return lambda value: inner(value) or []
        if type_.kind == "map":
            inner = self._map(type_)
            return lambda value: inner(value) or {}
        return _SCALARS[type_.kind]

    def _list(self, type_: Type) -> Convert:
        assert type_.elem is not None
        if type_.elem.kind == "string":
            return _string_list
        element, zero = self._element(type_.elem), self._zero_maker(type_.elem)

        def convert(value: Any) -> list[Any] | None:
            if type(value) is not list:
                raise ValueError
            return [zero() if item is None else element(item) for item in value] or None

        return convert

    def _map(self, type_: Type) -> Convert:
        assert type_.elem is not None
        if type_.elem.kind == "string":
            return _string_map
        element, zero = self._element(type_.elem), self._map_zero(type_.elem)

        def convert(value: Any) -> dict[str, Any] | None:
            if type(value) is not dict:
                raise ValueError
            return {key: zero() if item is None else element(item) for key, item in value.items()} or None

        return convert

    def _map_zero(self, type_: Type) -> Callable[[], Any]:
        # Storage keeps an absent value of a map as an empty one.
        return (lambda: "") if type_.kind == "bytes" else self._zero_maker(type_)

    def _zero_maker(self, type_: Type) -> Callable[[], Any]:
        """Makes what Go prints for the zero value."""
        if type_.pointer or type_.kind in (
            "list",
            "map",
            "bytes",
            "time",
            "microTime",
            "fieldsV1",
            "raw",
            "any",
        ):
            return _none
        if type_.kind == "struct":
            convert = self._lazy_struct(type_.struct_name)
            return lambda: convert({})
        zero = _ZEROS[type_.kind]
        return lambda: zero


@cache
def normalizer(schema: Schema) -> Normalizer:
    """The one Normalizer of a schema."""
    return Normalizer(schema)


def _always_printed(field: Field) -> bool:
    """Go's omitempty has no effect on struct values, nor on the types that print themselves."""
    if field.omitzero or (field.pointer and field.omitempty):
        return False
    if not field.omitempty:
        return True
    return field.kind in ("struct", "time", "microTime", "quantity", "intOrString", "duration")


def _none() -> None:
    return None


def _string(value: Any) -> str:
    if type(value) is not str:
        raise ValueError
    return value


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError
    return value


def _int32(value: Any) -> int:
    if type(value) is not int or not -0x80000000 <= value <= 0x7FFFFFFF:
        raise ValueError
    return value


def _int64(value: Any) -> int:
    if type(value) is not int or not -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF:
        raise ValueError
    return value


def _uint8(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= 255:
        raise ValueError
    return value


def _float(value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError
    return value  # type: ignore[no-any-return]


def _bytes(value: Any) -> str:
    return gotext.canonical_base64(_string(value))


@lru_cache(maxsize=2048)
def _quantity_text(text: str) -> str:
    return str(Quantity.parse(text.strip()))


def _quantity(value: Any) -> str:
    if type(value) is str:
        return _quantity_text(value)
    if type(value) is int:
        return _quantity_text(str(value))
    raise ValueError  # a float has lost its digits: explain.py reads them from the text


def _int_or_string(value: Any) -> int | str:
    return value if type(value) is str else _int32(value)


def _time(value: Any) -> str | None:
    return gotext.canonical_time(_string(value))


def _micro_time(value: Any) -> str | None:
    return gotext.canonical_micro_time(_string(value))


def _duration(value: Any) -> str:
    return gotext.canonical_duration(_string(value))


def _json(value: Any) -> Any:
    orjson.dumps(value)  # refuses what could not be stored: nesting beyond its limit
    return value


def _string_list(value: Any) -> list[str] | None:
    if type(value) is not list:
        raise ValueError
    for item in value:
        if type(item) is not str:
            return [_string("" if item is None else item) for item in value]
    return value or None


def _string_map(value: Any) -> dict[str, str] | None:
    if type(value) is not dict:
        raise ValueError
    for item in value.values():
        if type(item) is not str:
            return {key: _string("" if item is None else item) for key, item in value.items()}
    return value or None


_SCALARS: Final[dict[str, Convert]] = {
    "string": _string,
    "bool": _bool,
    "int32": _int32,
    "int64": _int64,
    "uint8": _uint8,
    "float": _float,
    "bytes": _bytes,
    "quantity": _quantity,
    "intOrString": _int_or_string,
    "time": _time,
    "microTime": _micro_time,
    "duration": _duration,
    "fieldsV1": _json,
    "raw": _json,
    "any": _json,
}
_ZEROS: Final[dict[str, Any]] = {
    "string": "",
    "bool": False,
    "int32": 0,
    "int64": 0,
    "uint8": 0,
    "float": 0,
    "quantity": "0",
    "intOrString": 0,
    "duration": "0s",
}
