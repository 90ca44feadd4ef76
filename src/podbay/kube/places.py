"""What a connection says of a cluster that a cloud tells about: a few texts of one field, checked by their dataclass. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

import orjson

from podbay.errors import InvalidInputError

__all__ = ["read_place"]

P = TypeVar("P")


def read_place(kind: type[P], value: Any, *, field: str, connection: str) -> P:
    """`kind` from an object or its JSON; what is not there is "". Raises InvalidInputError that names the connection."""
    where = f"connection {connection}: {field}"
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            value = None
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for each in value.values()):
        raise InvalidInputError(f"{where}: must be a JSON object of texts")
    known = sorted(each.name for each in fields(kind))  # type: ignore[arg-type]
    if unknown := sorted(set(value) - set(known)):
        raise InvalidInputError(f"{where}: {unknown[0]} is not known; there are {', '.join(known)}")
    try:
        return kind(**{**dict.fromkeys(known, ""), **value})
    except InvalidInputError as err:
        raise InvalidInputError(f"connection {connection}: {err}") from None
