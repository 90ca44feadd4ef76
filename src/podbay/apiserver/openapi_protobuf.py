"""The OpenAPI v2 document in protobuf, the only form in which Go clients ask for v2.

`kubectl explain --output plaintext-openapiv2`, older kubectl and other client-go programs read it. Only what our
own documents contain is encoded. Source of the field numbers: OpenAPIv2.proto of google/gnostic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import orjson

__all__ = ["encode_v2"]

Encode: TypeAlias = Callable[[Any], bytes]


def encode_v2(document: Mapping[str, Any]) -> bytes:
    """The message `openapi.v2.Document`."""
    return _message(document, _DOCUMENT)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _part(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _text(value: Any) -> bytes:
    return str(value).encode()


def _message(value: Mapping[str, Any], fields: Mapping[str, tuple[int, Encode]]) -> bytes:
    """A message out of a JSON object: known keys by `fields`, x-… keys as vendor extensions (number at "x-")."""
    out = bytearray()
    for key, item in value.items():
        if key.startswith("x-"):
            number, encode = fields["x-"]
            out += _part(number, encode((key, item)))
        elif key in fields:
            number, encode = fields[key]
            if isinstance(item, bool):
                out += _varint(number << 3) + _varint(item)
            elif isinstance(item, list):
                for one in item:
                    out += _part(number, encode(one))
            else:
                out += _part(number, encode(item))
    return bytes(out)


def _named(number: int, encode: Encode) -> Encode:
    """A map as repeated (name, value) messages."""

    def entries(value: Mapping[str, Any]) -> bytes:
        return b"".join(
            _part(number, _part(1, _text(name)) + _part(2, encode(item))) for name, item in value.items()
        )

    return entries


def _extension(pair: tuple[str, Any]) -> bytes:
    # Extensions travel as YAML, of which JSON is a part.
    return _part(1, _text(pair[0])) + _part(2, _part(2, orjson.dumps(pair[1]) + b"\n"))


def _any(value: Any) -> bytes:
    return _part(2, orjson.dumps(value) + b"\n")


def _schema(value: Mapping[str, Any]) -> bytes:
    return _message(value, _SCHEMA)


def _one(number: int) -> Encode:
    """A schema in a wrapper message of its own."""
    return lambda value: _part(number, _schema(value))


def _operation(value: Mapping[str, Any]) -> bytes:
    return _message(value, _OPERATION)


def _parameter(value: Mapping[str, Any]) -> bytes:
    if value["in"] == "body":
        return _part(1, _part(1, _message(value, _BODY_PARAMETER)))
    number, fields = (3, _QUERY_PARAMETER) if value["in"] == "query" else (4, _PATH_PARAMETER)
    return _part(1, _part(2, _part(number, _message(value, fields))))


def _response(value: Mapping[str, Any]) -> bytes:
    return _part(
        1, _message(value, {"description": (1, _text), "schema": (2, _one(1)), "x-": (5, _extension)})
    )


def _path_item(value: Mapping[str, Any]) -> bytes:
    return _message(value, _PATH_ITEM)


_SCHEMA: Final[dict[str, tuple[int, Encode]]] = {
    "$ref": (1, _text),
    "format": (2, _text),
    "description": (4, _text),
    "default": (5, _any),
    "required": (19, _text),
    "additionalProperties": (21, _one(1)),
    "type": (22, lambda value: _part(1, _text(value))),
    "items": (23, _one(1)),
    "properties": (25, _named(1, _schema)),
    "x-": (31, _extension),
}
_BODY_PARAMETER: Final[dict[str, tuple[int, Encode]]] = {
    "name": (2, _text),
    "in": (3, _text),
    "required": (4, _text),
    "schema": (5, _schema),
}
_PATH_PARAMETER: Final[dict[str, tuple[int, Encode]]] = {
    "required": (1, _text),
    "in": (2, _text),
    "name": (4, _text),
    "type": (5, _text),
    "uniqueItems": (19, _text),
}
_QUERY_PARAMETER: Final[dict[str, tuple[int, Encode]]] = {
    "in": (2, _text),
    "name": (4, _text),
    "type": (6, _text),
    "uniqueItems": (20, _text),
}
_OPERATION: Final[dict[str, tuple[int, Encode]]] = {
    "tags": (1, _text),
    "description": (3, _text),
    "operationId": (5, _text),
    "produces": (6, _text),
    "consumes": (7, _text),
    "parameters": (8, _parameter),
    "responses": (9, _named(1, _response)),
    "schemes": (10, _text),
    "x-": (13, _extension),
}
_PATH_ITEM: Final[dict[str, tuple[int, Encode]]] = {
    "get": (2, _operation),
    "put": (3, _operation),
    "post": (4, _operation),
    "delete": (5, _operation),
    "patch": (8, _operation),
    "parameters": (9, _parameter),
}
_DOCUMENT: Final[dict[str, tuple[int, Encode]]] = {
    "swagger": (1, _text),
    "info": (2, lambda value: _message(value, {"title": (1, _text), "version": (2, _text)})),
    "paths": (8, _named(2, _path_item)),
    "definitions": (9, _named(1, _schema)),
}
