"""JSON values as Go reads, compares and prints them, for patches and for the messages that carry a value or a type.

Not for messages with a quoted string alone (apiserver/field.py). Source: the verbs of Go's package fmt, the type
names of package reflect, and encoding/json's string escapes.
"""

from __future__ import annotations

from typing import Any

import orjson

from podbay.apiserver import status
from podbay.apiserver.field import go_quote
from podbay.apiserver.schema import gojson

__all__ = ["clone", "go_json", "go_sprint", "go_syntax", "go_type", "json_equal", "json_kind", "read_json"]

_HTML = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def read_json(body: bytes | Any) -> Any:
    """A parsed request body; what is no bytes is taken as parsed. ValueError carries Go's sentence."""
    if not isinstance(body, bytes | bytearray | memoryview):
        return body
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return gojson.to_plain(gojson.parse(bytes(body)))


def clone(value: Any) -> Any:
    """A deep copy of a JSON value; a round trip through orjson is faster than walking it here.

    Raises ApiError 400 for nesting that no API type has (orjson stops at 254 levels).
    """
    try:
        return orjson.loads(orjson.dumps(value))
    except orjson.JSONEncodeError:
        raise status.bad_request("exceeded max depth") from None


def go_json(value: Any) -> str:
    """Compact JSON with sorted keys and `<>&` escaped, as encoding/json prints a map."""
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    for char, escape in _HTML.items():
        if char in text:
            text = text.replace(char, escape)
    return text


def go_sprint(value: Any) -> str:
    """The verb %v: maps as map[k:v] with sorted keys, lists as [a b], null as <nil>."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{k}:{go_sprint(value[k])}" for k in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(go_sprint(v) for v in value) + "]"
    if isinstance(value, float):
        return _float(value)
    return str(value)


def _float(value: float) -> str:
    exponent = f"{value:e}"
    digits = int(exponent[exponent.index("e") + 1 :])
    if value == 0 or -4 <= digits < 21:
        text = f"{value:.20f}".rstrip("0").rstrip(".") if "e" in repr(value) else repr(value)
        return text.removesuffix(".0")
    mantissa, _, power = f"{value!r}".partition("e") if "e" in repr(value) else (repr(value), "", "0")
    return f"{mantissa.removesuffix('.0')}e{'-' if power.startswith('-') else '+'}{abs(int(power)):02d}"


def go_syntax(value: Any) -> str:
    """The verb %#v, as far as messages need it: strings quoted, maps and lists with their types."""
    if isinstance(value, str):
        return go_quote(value)
    if isinstance(value, dict):
        inner = ", ".join(f"{go_quote(k)}:{go_syntax(value[k])}" for k in sorted(value))
        return f"map[string]interface {{}}{{{inner}}}"
    if isinstance(value, list):
        return "[]interface {}{" + ", ".join(map(go_syntax, value)) + "}"
    return "interface {}(nil)" if value is None else go_sprint(value)


def go_type(value: Any) -> str:
    """The Go type of a decoded JSON value."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, str):
        return "string"
    return "map[string]interface {}" if isinstance(value, dict) else "[]interface {}"


def json_kind(value: Any) -> str:
    """What encoding/json calls a value in "cannot unmarshal … into"."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, dict) else "array"


def json_equal(left: Any, right: Any) -> bool:
    """Equality of JSON values in which 1, 1.0 and true are three different things."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(json_equal(v, right[k]) for k, v in left.items())
    if isinstance(left, list):
        return len(left) == len(right) and all(map(json_equal, left, right))
    return bool(left == right)
