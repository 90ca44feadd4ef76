"""JSON as Go's scanner reads it: its syntax errors, duplicate keys kept, numbers as they were written.

The slow half of parsing; the fast one is orjson. Used when orjson refuses the text, or when an answer needs to name
what is wrong. Source: sigs.k8s.io/json, the fork of Go's encoding/json. Nesting up to Go's 10,000 levels is read
without recursion.
"""

from __future__ import annotations

import codecs
import math
import re
from typing import Any, Final

from podbay.apiserver.field import go_quote

__all__ = ["Number", "Pairs", "go_float", "parse", "to_plain", "to_tree"]

_MAX_DEPTH: Final = 10_000
_MAX_KEPT_DEPTH: Final = 200
"""Beyond it a value cannot be printed again (orjson stops at 254)."""

_SPACE = re.compile(rb"[ \t\r\n]*+")
_STRING = re.compile(rb'"((?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+)"')
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?")
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_BRACKETS: Final = {ord("{"): ord("}"), ord("["): ord("]")}
_OPENED: Final = object()
_LITERALS: Final = {ord("t"): b"true", ord("f"): b"false", ord("n"): b"null"}
_LITERAL_VALUES: Final = {b"true": True, b"false": False, b"null": None}


class Number(str):
    """A number literal, as it stood in the text."""

    __slots__ = ()


class Pairs(list[tuple[str, Any]]):
    """A JSON object with its keys in order, repeated ones included."""

    __slots__ = ()


codecs.register_error("podbay-replace-byte", lambda e: ("\ufffd", getattr(e, "start", 0) + 1))


class _Scanner:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def parse(self) -> Any:
        """One value and nothing after it. ValueError with Go's sentence."""
        stack: list[Any] = []  # open Pairs and lists
        keys: list[str] = []  # for each of them the key that waits for its value
        while True:
            value = self._begin(stack, keys)
            if value is _OPENED:
                continue
            while stack:
                if self._attach(value, stack, keys):
                    break
                value = stack.pop()
                keys.pop()
            else:
                self._expect_end()
                return value

    def _begin(self, stack: list[Any], keys: list[str]) -> Any:
        """A scalar or empty container as it stands, or _OPENED when a container now waits for its first value."""
        self._skip_space()
        c = self._peek()
        if c not in _BRACKETS:
            return self._scalar()
        if len(stack) >= _MAX_DEPTH:
            raise self._error("exceeded max depth")
        self.at += 1
        container: Any = Pairs() if c == ord("{") else []
        self._skip_space()
        if self._peek() == _BRACKETS[c]:
            self.at += 1
            return container
        keys.append(self._key("looking for beginning of object key string") if c == ord("{") else "")
        stack.append(container)
        return _OPENED

    def _attach(self, value: Any, stack: list[Any], keys: list[str]) -> bool:
        """Adds value to the innermost container; True when another value follows, False when it closed."""
        container = stack[-1]
        self._skip_space()
        c = self._peek()
        if isinstance(container, Pairs):
            container.append((keys[-1], value))
            if c == ord(","):
                self.at += 1
                self._skip_space()
                keys[-1] = self._key("looking for beginning of object key string")
                return True
            if c != ord("}"):
                raise self._error("after object key:value pair")
        else:
            container.append(value)
            if c == ord(","):
                self.at += 1
                return True
            if c != ord("]"):
                raise self._error("after array element")
        self.at += 1
        return False

    def _key(self, context: str) -> str:
        if self._peek() != ord('"'):
            raise self._error(context)
        key = self._string()
        self._skip_space()
        if self._peek() != ord(":"):
            raise self._error("after object key")
        self.at += 1
        return key

    def _scalar(self) -> Any:
        c = self._peek()
        if c == ord('"'):
            return self._string()
        if c in _LITERALS:
            return self._literal(_LITERALS[c])
        if c == ord("-") or ord("0") <= c <= ord("9"):
            return self._number()
        raise self._error("looking for beginning of value")

    def _literal(self, word: bytes) -> Any:
        for expected in word[1:]:
            self.at += 1
            if self._peek(inside=True) != expected:
                raise self._error(f"in literal {word.decode()} (expecting '{chr(expected)}')", inside=True)
        self.at += 1
        return _LITERAL_VALUES[word]

    def _number(self) -> Number:
        found = _NUMBER.match(self.data, self.at)
        end = found.end() if found else self.at
        if found and (end >= len(self.data) or self.data[end] not in b".eE"):
            self.at = end
            return Number(found[0].decode())
        # Something is wrong right behind the part that fits: a sign, a point or an exponent without digits.
        self.at = end + 1
        before = self.data[end : end + 1]
        if before == b"-":
            raise self._error("in numeric literal", inside=True)
        if before == b".":
            raise self._error("after decimal point in numeric literal", inside=True)
        if self.data[self.at : self.at + 1] in (b"+", b"-"):
            self.at += 1
        raise self._error("in exponent of numeric literal", inside=True)

    def _string(self) -> str:
        found = _STRING.match(self.data, self.at)
        if not found:
            self._explain_string()
        assert found is not None
        self.at = found.end()
        return _unquote(found[1])

    def _explain_string(self) -> None:
        data, i = self.data, self.at + 1
        while i < len(data):
            c = data[i]
            if c < 0x20:
                self.at = i
                raise self._error("in string literal")
            if c == ord("\\"):
                i += 1
                self.at = i
                if i >= len(data) or data[i] not in b'bfnrt\\/"u':
                    raise self._error("in string escape code", inside=True)
                if data[i] == ord("u"):
                    for self.at in range(i + 1, i + 5):
                        if self.at >= len(data) or data[self.at] not in b"0123456789abcdefABCDEF":
                            raise self._error("in \\u hexadecimal character escape", inside=True)
                    i += 4
            i += 1
        raise ValueError("unexpected end of JSON input")

    def _skip_space(self) -> None:
        found = _SPACE.match(self.data, self.at)
        if found:
            self.at = found.end()

    def _peek(self, *, inside: bool = False) -> int:
        """The next byte; the end of the text is an error, except inside a token, where Go feeds a blank."""
        if self.at < len(self.data):
            return self.data[self.at]
        if inside:
            return ord(" ")
        raise ValueError("unexpected end of JSON input")

    def _expect_end(self) -> None:
        self._skip_space()
        if self.at < len(self.data):
            raise self._error("after top-level value")

    def _error(self, context: str, *, inside: bool = False) -> ValueError:
        c = self._peek(inside=inside)
        shown = "'\\''" if c == ord("'") else "'\"'" if c == ord('"') else "'" + go_quote(chr(c))[1:-1] + "'"
        return ValueError(f"invalid character {shown} {context}")


def parse(data: bytes) -> Any:
    """A tree of Pairs, lists, Numbers and plain scalars. ValueError carries Go's sentence."""
    return _Scanner(data).parse()


def _unquote(raw: bytes) -> str:
    text = raw.decode("utf-8", "podbay-replace-byte")
    if "\\" not in text:
        return text
    replaced = _ESCAPE.sub(_unescape, text)
    # Halves of surrogate pairs were written one by one; what stays alone becomes U+FFFD, as in Go.
    return replaced.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _unescape(found: re.Match[str]) -> str:
    return chr(int(found[1], 16)) if found[1] else _ESCAPED.get(found[2], found[2])


def to_plain(tree: Any, depth: int = 0) -> Any:
    """The tree as ordinary JSON values: last of repeated keys, int64 or float. ValueError when nested too deeply."""
    if depth > _MAX_KEPT_DEPTH:
        raise ValueError("exceeded max depth")
    if isinstance(tree, Pairs):
        return {key: to_plain(value, depth + 1) for key, value in tree}
    if isinstance(tree, list):
        return [to_plain(value, depth + 1) for value in tree]
    if isinstance(tree, Number):
        return _plain_number(tree)
    return tree


def _plain_number(text: str) -> int | float:
    if "." not in text and "e" not in text and "E" not in text and len(text) <= 20:
        value = int(text)
        if -(2**63) <= value < 2**63:
            return value
    as_float = float(text)
    if math.isinf(as_float):
        raise ValueError(f"json: cannot unmarshal number {text} into Go value of type float64")
    return as_float


def to_tree(value: Any) -> Any:
    """The inverse of to_plain, for objects that never were text."""
    if isinstance(value, dict):
        return Pairs((key, to_tree(item)) for key, item in value.items())
    if isinstance(value, list):
        return [to_tree(item) for item in value]
    if isinstance(value, float):
        return Number(go_float(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return Number(value)
    return value


def go_float(value: float) -> str:
    """A float as Go's encoding/json prints it."""
    if math.isnan(value) or math.isinf(value):
        shown = "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
        raise ValueError(f"json: unsupported value: {shown}")
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    if 1e-6 <= abs(value) < 1e21:
        text = repr(value)
        if "e" in text or "E" in text:
            text = f"{value:.17f}".rstrip("0").rstrip(".") if abs(value) < 1 else f"{value:.0f}"
        return text.removesuffix(".0")
    mantissa, _, exponent = repr(value).partition("e")
    return f"{mantissa.removesuffix('.0')}e{'-' if exponent.startswith('-') else '+'}{int(exponent.lstrip('+-')):02d}".replace(
        "e-0", "e-"
    )
