"""YAML as kube-apiserver reads it: first document only, YAML 1.1 words for booleans, turned into JSON.

Not for printing (yamlprint.py). Source: sigs.k8s.io/yaml over go.yaml.in/yaml/v2. PyYAML's parser, the same
libyaml, does the syntax; what plain words mean follows go-yaml's resolver. Errors are ValueErrors with go-yaml's
sentence.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Hashable
from typing import Any, Final

import yaml
from yaml.events import AliasEvent, MappingStartEvent, ScalarEvent, SequenceStartEvent

from podbay.apiserver.field import go_quote
from podbay.apiserver.schema.gojson import go_float

__all__ = ["load", "resolve"]

_Parser: Any = getattr(yaml, "CSafeLoader", None) or yaml.SafeLoader
_MAX_DEPTH: Final = 200
_ALIAS_FREE: Final = 400_000
"""go-yaml: below this many decoded nodes nearly everything may come from aliases, above 4,000,000 a tenth."""

_WORDS: Final[dict[str, Any]] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_INT = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[oO]([0-7]+)|0[bB]([01]+)|(0[0-7]*)|([1-9][0-9]*))\Z")
_TAG = "tag:yaml.org,2002:"


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.parser = _Parser(data)
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.open: set[str] = set()
        self.decoded = 0
        self.aliased = 0
        self.duplicates: list[str] = []

    def document(self) -> Any:
        event = self._next()
        while not isinstance(event, ScalarEvent | SequenceStartEvent | MappingStartEvent | AliasEvent):
            if isinstance(event, yaml.StreamEndEvent):
                return None
            event = self._next()
        return self._node(event, 0)

    def _next(self) -> Any:
        return self.parser.get_event()

    def _node(self, event: Any, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise ValueError("yaml: exceeded max depth")
        if isinstance(event, AliasEvent):
            return self._alias(event.anchor or "")
        anchor, before = event.anchor, self.decoded
        self.decoded += 1
        if anchor:
            self.open.add(anchor)
        if isinstance(event, ScalarEvent):
            value = _scalar(event)
        elif isinstance(event, SequenceStartEvent):
            value = []
            while not isinstance(inner := self._next(), yaml.SequenceEndEvent):
                value.append(self._node(inner, depth + 1))
        else:
            value = self._mapping(depth)
        if anchor:
            self.open.discard(anchor)
            self.anchors[anchor] = (value, self.decoded - before)
        return value

    def _alias(self, anchor: str) -> Any:
        if anchor in self.open:
            raise ValueError(f"yaml: anchor '{anchor}' value contains itself")
        if anchor not in self.anchors:
            raise ValueError(f"yaml: unknown anchor '{anchor}' referenced")
        value, size = self.anchors[anchor]
        self.decoded += size
        self.aliased += size
        if self.aliased > 100 and self.decoded > 1000 and self.aliased / self.decoded > self._alias_ratio():
            raise ValueError("yaml: document contains excessive aliasing")
        return value

    def _alias_ratio(self) -> float:
        if self.decoded <= _ALIAS_FREE:
            return 0.99
        if self.decoded >= 10 * _ALIAS_FREE:
            return 0.10
        return 0.99 - 0.89 * (self.decoded - _ALIAS_FREE) / (9 * _ALIAS_FREE)

    def _mapping(self, depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        merges: list[Any] = []
        seen: set[Hashable] = set()
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            line = event.start_mark.line + 1
            is_merge = isinstance(event, ScalarEvent) and event.value == "<<" and event.implicit[0]
            key = self._node(event, depth + 1)
            value = self._node(self._next(), depth + 1)
            if is_merge:
                merges.append(value)
                continue
            if isinstance(key, dict | list):
                raise ValueError(f"yaml: invalid map key: {_go_value(key)}")
            text = _key_text(key)
            if text in seen:
                self.duplicates.append(f"line {line}: key {go_quote(text)} already set in map")
            seen.add(text)
            out[text] = value
        for merge in merges:
            for source in merge if isinstance(merge, list) else [merge]:
                if not isinstance(source, dict):
                    raise ValueError("yaml: map merge requires map or sequence of maps as the value")
                for name, value in source.items():
                    out.setdefault(name, value)
        return out


def load(data: bytes) -> tuple[Any, list[str]]:
    """(JSON value with sorted keys, texts of duplicate keys). ValueError carries go-yaml's sentence."""
    try:
        reader = _Reader(data)
        value = reader.document()
    except yaml.MarkedYAMLError as error:
        raise ValueError(_syntax(error)) from error
    except yaml.reader.ReaderError as error:
        raise ValueError("yaml: control characters are not allowed") from error
    except (yaml.YAMLError, UnicodeError, RecursionError) as error:
        raise ValueError("yaml: unknown problem parsing YAML content") from error
    return _jsonable(value), reader.duplicates


def _syntax(error: yaml.MarkedYAMLError) -> str:
    """go-yaml's sentence: parser errors count lines from zero, scanner errors from one."""
    line = 0
    if error.problem_mark is not None and error.problem_mark.line:
        line = error.problem_mark.line + (1 if isinstance(error, yaml.scanner.ScannerError) else 0)
    elif error.context_mark is not None and error.context_mark.line:
        line = error.context_mark.line
    where = f"line {line}: " if line else ""
    return f"yaml: {where}{error.problem or 'unknown problem parsing YAML content'}"


def _scalar(event: Any) -> Any:
    text, tag = event.value, event.tag or ""
    if tag == _TAG + "binary":
        try:
            return base64.b64decode(text).decode("utf-8", "replace")
        except ValueError:
            raise ValueError("yaml: !!binary value contains invalid base64 data") from None
    if tag == _TAG + "str" or tag == "!" or (not tag and event.style not in (None, "")):
        return text
    value = resolve(text)
    if tag == _TAG + "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def resolve(text: str) -> Any:
    """What a plain word means (go-yaml's resolve); timestamps stay text."""
    if text in _WORDS:
        return _WORDS[text]
    if not text or text[0] not in "+-.0123456789":
        return text
    plain = text.replace("_", "")
    found = _INT.match(plain)
    if found:
        sign, hexadecimal, octal_o, binary, octal, decimal = found.groups()
        digits, base = next(
            (d, b) for d, b in ((hexadecimal, 16), (octal_o, 8), (binary, 2), (octal, 8), (decimal, 10)) if d
        )
        value = int(digits, base) * (-1 if sign == "-" else 1) if len(digits) < 80 else 2**70
        if -(2**63) <= value < 2**64:
            return value
    if _FLOAT.match(plain):
        return float(plain)
    return text


def _key_text(key: Any) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int):
        return str(key)
    if isinstance(key, float):
        return ".nan" if math.isnan(key) else go_float(key)
    raise ValueError("unsupported map key of type: %!s(<nil>), key: <nil>, value: <nil>")


def _go_value(value: Any) -> str:
    if isinstance(value, dict):
        body = ", ".join(f"{go_quote(k)}:{_go_value(v)}" for k, v in value.items())
        return f"map[interface {{}}]interface {{}}{{{body}}}"
    if isinstance(value, list):
        return f"[]interface {{}}{{{', '.join(_go_value(v) for v in value)}}}"
    return go_quote(value) if isinstance(value, str) else str(value)


def _jsonable(value: Any) -> Any:
    """Through Go's JSON printer: keys sorted, whole floats printed without a point."""
    if isinstance(value, dict):
        return {key: _jsonable(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    if isinstance(value, float):
        text = go_float(value)
        return int(text) if text.lstrip("-").isdigit() else value
    return value
