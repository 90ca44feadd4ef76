"""Continue tokens: where the next page of a list starts, and at which version.

Source: k8s.io/apiserver/pkg/storage/continue.go; the token's form is public there and the same here.
"""

from __future__ import annotations

import base64
import posixpath
from typing import Any

import orjson

from podbay.apiserver import status
from podbay.apiserver.field import go_quote
from podbay.errors import ApiError

__all__ = ["LATEST", "decode_continue", "encode_continue"]

LATEST = -1
"""The version in a token that asks for the rest of a list as it is now, consistent or not."""

_API_VERSION = "meta.k8s.io/v1"
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_PREFIX = "continue key is not valid"
_ALPHABET = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def encode_continue(start: str, version: int) -> str:
    """A token for the page that begins at the key `start`."""
    data = orjson.dumps({"v": _API_VERSION, "rv": version, "start": start})
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_continue(token: str) -> tuple[str, int]:
    """(start key, version) of a token. Raises the 400 of kube-apiserver for anything else."""
    data, problem = _decode_base64(token)
    if problem:
        raise _bad(f"{_PREFIX}: {problem}")
    fields, problem = _decode_json(data)
    if problem:
        raise _bad(f"{_PREFIX}: {problem}")
    if fields["v"] != _API_VERSION:
        raise _bad(f"{_PREFIX}: server does not recognize this encoded version {fields['v']}")
    if fields["rv"] == 0:
        raise _bad(f"{_PREFIX}: incorrect encoded start resourceVersion (version {_API_VERSION})")
    start: str = fields["start"]
    if not start:
        raise _bad(f"{_PREFIX}: encoded start key empty (version {_API_VERSION})")
    key = start if start.startswith("/") else "/" + start
    # Go cleans a double slash in front as well.
    if key.startswith("//") or posixpath.normpath(key) != key:
        raise _bad(f"{_PREFIX}: {start}")
    return key[1:], fields["rv"]


def _bad(message: str) -> ApiError:
    return status.bad_request(f"invalid continue token: {message}")


def _decode_base64(token: str) -> tuple[bytes, str]:
    """Unpadded URL base64 as Go reads it: line ends are skipped, the offending byte is named."""
    text = token.encode(errors="replace")
    for position, byte in enumerate(text):
        if byte not in _ALPHABET and byte not in b"\r\n":
            return b"", f"illegal base64 data at input byte {position}"
    digits = text.replace(b"\r", b"").replace(b"\n", b"")
    if len(digits) % 4 == 1:
        return b"", f"illegal base64 data at input byte {len(text) - 1}"
    return base64.urlsafe_b64decode(digits + b"=" * (-len(digits) % 4)), ""


_FIELDS: dict[str, tuple[type, str]] = {"v": (str, "string"), "rv": (int, "int64"), "start": (str, "string")}


def _decode_json(data: bytes) -> tuple[dict[str, Any], str]:
    """The token's fields with Go's zero values for absent ones, or what encoding/json says is wrong."""
    fields: dict[str, Any] = {"v": "", "rv": 0, "start": ""}
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return fields, _syntax_error(data)
    if value is None:
        return fields, ""
    if not isinstance(value, dict):
        return fields, f"json: cannot unmarshal {_go_kind(value)} into Go value of type storage.continueToken"
    for name, (wanted, go_type) in _FIELDS.items():
        got = value.get(name)
        if got is None:
            continue
        if type(got) is not wanted or (isinstance(got, int) and not _INT64_MIN <= got <= _INT64_MAX):
            kind = f"number {got}" if wanted is int and _go_kind(got) == "number" else _go_kind(got)
            return fields, (
                f"json: cannot unmarshal {kind} into Go struct field continueToken.{name} of type {go_type}"
            )
        fields[name] = got
    return fields, ""


def _syntax_error(data: bytes) -> str:
    text = data.lstrip(b" \t\r\n")
    if not text:
        return "unexpected end of JSON input"
    if text[0] not in b'{["-0123456789tfn':
        return f"invalid character {_quote_byte(text[0])} looking for beginning of value"
    return "unexpected end of JSON input"


def _quote_byte(byte: int) -> str:
    if byte == ord("'"):
        return r"'\''"
    if byte == ord('"'):
        return "'\"'"
    return "'" + go_quote(chr(byte))[1:-1] + "'"


def _go_kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"
