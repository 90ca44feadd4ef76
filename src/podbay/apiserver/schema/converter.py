"""From a map to a Go struct without passing through JSON text: what ends a strategic merge patch.

Its sentences differ from those of decoding (explain.py), it forgives whole floats and wraps integers, it reads
fields in Go's order and tells unknown ones sorted. Source: apimachinery's pkg/runtime/converter.go.
"""

from __future__ import annotations

from typing import Any, Final

from podbay.apiserver.schema import gotext
from podbay.apiserver.schema.explain import Explainer
from podbay.apiserver.schema.gojson import to_tree
from podbay.apiserver.schema.types import Schema, Struct, Type

__all__ = ["Converter"]

_SIMPLE: Final = frozenset({"string", "bool", "int32", "int64", "uint8", "float"})
_REFLECT_KIND: Final = {"float": "float64"}


class Converter:
    """One conversion. After `convert`, `unknown` holds the paths of the fields that the struct does not have."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._path: list[str] = []
        self._reader = Explainer(schema)
        self.unknown: list[str] = []

    def convert(self, name: str, obj: dict[str, Any]) -> dict[str, Any]:
        """The values the struct would hold, not yet in normal form. ValueError carries Go's sentence."""
        out = self._struct(self._schema.struct(name), obj)
        self.unknown.sort(key=lambda path: f'unknown field "{path}"')
        return out

    def _value(self, type_: Type, value: Any) -> Any:
        if value is None:
            return None
        kind = type_.kind
        if kind in _SIMPLE:
            return _simple(type_, value)
        if kind == "struct":
            return self._struct(type_.struct, value)
        if kind == "map":
            return self._map(type_, value)
        if kind == "list":
            return self._list(type_, value)
        if kind == "bytes":
            return _bytes(value)
        return self._reader.unmarshal(type_, to_tree(value))

    def _struct(self, struct: Struct, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(f"cannot restore struct from: {_kind(value)}")
        out: dict[str, Any] = {}
        for name, field in struct.fields.items():
            if value.get(name) is not None:
                self._path.append(name)
                out[name] = self._value(field.type, value[name])
                self._path.pop()
        self.unknown += [_join([*self._path, name]) for name in value if name not in struct.fields]
        return out

    def _map(self, type_: Type, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(f"cannot restore map from {_kind(value)}")
        assert type_.elem is not None
        return {key: self._value(type_.elem, item) for key, item in value.items()}

    def _list(self, type_: Type, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise ValueError(f"cannot restore slice from {_kind(value)}")
        assert type_.elem is not None
        out = []
        for i, item in enumerate(value):
            self._path.append(f"[{i}]")
            out.append(self._value(type_.elem, item))
            self._path.pop()
        return out


def _join(path: list[str]) -> str:
    return "".join(part if i == 0 or part.startswith("[") else "." + part for i, part in enumerate(path))


def _simple(type_: Type, value: Any) -> Any:
    kind = type_.kind
    if isinstance(value, bool):
        if kind == "bool":
            return value
    elif isinstance(value, str):
        if kind == "string":
            return value
    elif isinstance(value, int | float) and kind != "bool":
        return _number(type_, value)
    raise ValueError(f"unrecognized type: {_REFLECT_KIND.get(kind, kind)}")


def _number(type_: Type, value: int | float) -> int | float:
    if type_.kind == "float":
        return value
    if type_.kind == "string":
        if isinstance(value, int):
            raise ValueError(f"cannot convert int64 to {type_.go}")
        raise ValueError("unrecognized type: string")
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"cannot convert float64 to {type_.go}")
    bits = {"int32": 32, "uint8": 8}.get(type_.kind, 64)
    wrapped = int(value) & ((1 << bits) - 1)
    return wrapped - (1 << bits) if bits != 8 and wrapped >> (bits - 1) else wrapped


def _bytes(value: Any) -> str:
    if isinstance(value, str):
        try:
            return gotext.canonical_base64(value)
        except ValueError as error:
            raise ValueError(f"error decoding from json: {error}") from None
    raise ValueError(f"cannot restore slice from {_kind(value)}")


def _kind(value: Any) -> str:
    """Go's reflect.Kind of a JSON value."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, dict):
        return "map"
    if isinstance(value, list):
        return "slice"
    if isinstance(value, str):
        return "string"
    return "float64" if isinstance(value, float) else "int64"
