"""Decoding with Go's bookkeeping: the slow half, run when the fast one did not accept a value.

Walks a tree (gojson.py) beside its Go type and collects what sigs.k8s.io/json would say: the first type error with
struct and field path, errors of types that read themselves (quantities, times) at once, unknown and duplicate
fields up to a hundred. The value it returns is clean enough for normalize.py.
"""

from __future__ import annotations

import base64
from typing import Any, Final

from podbay.apiserver.field import go_quote
from podbay.apiserver.schema import gotext
from podbay.apiserver.schema.gojson import Number, Pairs, to_plain
from podbay.apiserver.schema.types import Schema, Struct, Type
from podbay.objects.quantity import Quantity

__all__ = ["Explainer"]

_MAX_STRICT_ERRORS: Final = 100
_BOUNDS: Final = {
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint8": (0, 255),
}


class Explainer:
    """One decode of one tree. After `decode`, strict_errors holds the texts of unknown and duplicate fields."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._saved: str = ""
        self._struct = ""
        self._fields: list[str] = []
        self._strict_path: list[str] = []
        self.strict_errors: dict[str, None] = {}

    def decode(self, name: str, tree: Any) -> dict[str, Any]:
        """The clean object. ValueError carries the sentence of Go's decoder."""
        struct = self._schema.struct(name)
        out = self._value(self._schema.type(struct.key), tree, None)
        if self._saved:
            raise ValueError(self._saved)
        return out or {}

    def unmarshal(self, type_: Type, tree: Any) -> Any:
        """One value of a type that reads itself (quantity, time, …). ValueError carries the sentence, without a path."""
        return self._value(type_, tree, None)

    @staticmethod
    def word(node: Any) -> str:
        """Go's word for a JSON value."""
        if isinstance(node, Pairs):
            return "object"
        if isinstance(node, list):
            return "array"
        if isinstance(node, bool):
            return "bool"
        return "number" if isinstance(node, Number) else "string"

    def _context(self, text: str, go: str) -> str:
        if self._struct or self._fields:
            return f"json: cannot unmarshal {text} into Go struct field {self._struct}.{'.'.join(self._fields)} of type {go}"
        return f"json: cannot unmarshal {text} into Go value of type {go}"

    def _save(self, text: str) -> None:
        """Go remembers the first such error and reads on."""
        self._saved = self._saved or text

    def _mismatch(self, node: Any, go: str, old: Any) -> Any:
        self._save(self._context(self.word(node), go))
        return old

    def _strict(self, what: str, name: str) -> None:
        if len(self.strict_errors) < _MAX_STRICT_ERRORS:
            prefix = "".join(self._strict_path)
            path = f"{prefix}.{name}" if prefix else name
            self.strict_errors.setdefault(f"{what} field {go_quote(path)}")

    def _value(self, type_: Type, node: Any, old: Any) -> Any:
        kind = type_.kind
        if node is None:
            return self._null(type_, old)
        if kind == "struct":
            return self._object(type_.struct, node, old)
        if kind == "list":
            return self._list(type_, node, old)
        if kind == "map":
            return self._map(type_, node, old)
        if kind in _BOUNDS:
            return self._integer(type_, node, old)
        match kind:
            case "string":
                fits = isinstance(node, str) and not isinstance(node, Number)
                return node if fits else self._mismatch(node, type_.go, old)
            case "bool":
                return node if isinstance(node, bool) else self._mismatch(node, type_.go, old)
            case "float":
                return to_plain(node) if isinstance(node, Number) else self._mismatch(node, type_.go, old)
            case "bytes":
                return self._bytes(node, old)
            case "quantity":
                return str(Quantity.parse(_raw_text(node).strip()))
            case "intOrString":
                return self._int_or_string(node)
            case "any" | "fieldsV1" | "raw":
                return to_plain(node)
        return self._text_reader(kind, node)

    def _null(self, type_: Type, old: Any) -> Any:
        if type_.kind == "duration" and not type_.pointer:
            gotext.canonical_duration("")
        resets = type_.pointer or type_.kind in (
            "list",
            "map",
            "bytes",
            "time",
            "microTime",
            "quantity",
            "any",
        )
        return None if resets else old

    def _object(self, struct: Struct, node: Any, old: Any) -> Any:
        if not isinstance(node, Pairs):
            return self._mismatch(node, struct.go, old)
        out: dict[str, Any] = dict(old) if old else {}
        outer = self._struct
        seen: set[str] = set()
        for key, item in node:
            field = struct.fields.get(key)
            if field is None:
                self._strict("unknown", key)
                continue
            if key in seen:
                self._strict("duplicate", key)
            seen.add(key)
            self._fields.append(key)
            self._struct = struct.go_name
            depth = self._enter_key(key)
            out[key] = self._value(field.type, item, out.get(key))
            del self._strict_path[depth:]
            self._fields.pop()
            self._struct = outer
        return out

    def _enter_key(self, key: str) -> int:
        depth = len(self._strict_path)
        if depth:
            self._strict_path.append(".")
        self._strict_path.append(key)
        return depth

    def _list(self, type_: Type, node: Any, old: Any) -> Any:
        if isinstance(node, Pairs) or not isinstance(node, list):
            return self._mismatch(node, type_.go, old)
        assert type_.elem is not None
        out = []
        for i, item in enumerate(node):
            self._strict_path.append(f"[{i}]")
            out.append(self._value(type_.elem, item, old[i] if old and i < len(old) else None))
            self._strict_path.pop()
        return out

    def _map(self, type_: Type, node: Any, old: Any) -> Any:
        if not isinstance(node, Pairs):
            return self._mismatch(node, type_.go, old)
        assert type_.elem is not None
        out: dict[str, Any] = dict(old) if old else {}
        seen: set[str] = set()
        for key, item in node:
            if key in seen:
                self._strict("duplicate", key)
            seen.add(key)
            depth = self._enter_key(key)
            out[key] = self._value(type_.elem, item, None)
            del self._strict_path[depth:]
        return out

    def _integer(self, type_: Type, node: Any, old: Any) -> Any:
        if not isinstance(node, Number):
            return self._mismatch(node, type_.go, old)
        value = _in_bounds(node, type_.kind)
        if value is None:
            self._save(self._context(f"number {node}", type_.go))
            return old
        return value

    def _int_or_string(self, node: Any) -> int | str:
        if isinstance(node, Number):
            value = _in_bounds(node, "int32")
            if value is None:
                raise ValueError(self._context(f"number {node}", "int32"))
            return value
        if isinstance(node, str):
            return node
        raise ValueError(self._context(self.word(node), "int32"))

    def _bytes(self, node: Any, old: Any) -> Any:
        if isinstance(node, list) and not isinstance(node, Pairs):
            values = [_in_bounds(item, "uint8") if isinstance(item, Number) else None for item in node]
            for item, value in zip(node, values, strict=True):
                if value is None and item is not None:
                    shown = f"number {item}" if isinstance(item, Number) else self.word(item)
                    self._save(self._context(shown, "uint8"))
            return _encode_bytes([value or 0 for value in values])
        if isinstance(node, Number) or not isinstance(node, str):
            return self._mismatch(node, "[]uint8", old)
        try:
            return gotext.canonical_base64(node)
        except ValueError as error:
            self._save(str(error))
            return old

    def _text_reader(self, kind: str, node: Any) -> Any:
        """Types that take a string and read it themselves; their errors end the decoding."""
        if isinstance(node, Number) or not isinstance(node, str):
            raise ValueError(self._context(self.word(node), "string"))
        if kind == "time":
            return gotext.canonical_time(node)
        if kind == "microTime":
            return gotext.canonical_micro_time(node)
        return gotext.canonical_duration(node)


def _in_bounds(text: str, kind: str) -> int | None:
    """An integer literal as Go's ParseInt takes it, None when it is no integer or does not fit."""
    digits = text.removeprefix("-")
    if not digits.isdigit() or len(digits) > 19:
        return None
    low, high = _BOUNDS[kind]
    value = int(text)
    return value if low <= value <= high and not (kind == "uint8" and text.startswith("-")) else None


def _encode_bytes(values: list[int]) -> str:
    return base64.b64encode(bytes(values)).decode()


def _raw_text(node: Any) -> str:
    """What a quantity reads: text without quotes; for anything else something it refuses as well."""
    return node if isinstance(node, str) else str(node).lower()
