"""An Airflow connection to a cluster in the shapes in which Airflow takes one. Pure.

Fields of `extra` are upstream's (spec 84) and, for clusters whose tokens Podbay mints itself, `podbay_eks`. Source:
airflow.models.connection, airflow.secrets.local_filesystem, core_api.datamodels.connections.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from podbay.errors import InvalidInputError

__all__ = ["ConnectionEntry", "read_entries", "read_entry", "read_variable", "variable_of"]

_TYPE: Final = "kubernetes"
_NAME: Final = re.compile(r"[\w.-]{1,250}")


@dataclass(frozen=True, slots=True)
class ConnectionEntry:
    """One connection. `extra` may hold secrets and is not shown."""

    name: str
    extra: Mapping[str, Any] = field(repr=False)
    description: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidInputError(
                f"connection {self.name!r}: a name has letters, digits, `_`, `.` and `-` only"
            )

    def environment_line(self) -> str:
        """NAME='VALUE' for a shell or an env file."""
        return f"{variable_of(self.name)}={shlex.quote(self._json())}"

    def import_file(self) -> str:
        """For `airflow connections import FILE.json`, and for local_filesystem's secrets backend."""
        return orjson.dumps({self.name: self._document()}, option=orjson.OPT_INDENT_2).decode()

    def rest_body(self) -> dict[str, Any]:
        """For POST and PATCH of /api/v2/connections."""
        extra = orjson.dumps(self.extra).decode()
        body = {"connection_id": self.name, "conn_type": _TYPE, "extra": extra}
        return body | ({"description": self.description} if self.description else {})

    def _document(self) -> dict[str, Any]:
        described = {"description": self.description} if self.description else {}
        return {"conn_type": _TYPE, **described, "extra": dict(self.extra)}

    def _json(self) -> str:
        return orjson.dumps({"conn_type": _TYPE, "extra": dict(self.extra)}).decode()


def variable_of(name: str) -> str:
    """The environment variable in which Airflow looks for a connection. Raises InvalidInputError for no such name."""
    if not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise InvalidInputError(
            f"connection {name!r}: an environment variable cannot be called so; write it with --airflow-url, or as "
            "JSON with --output json"
        )
    return f"AIRFLOW_CONN_{name.upper()}"


def read_variable(name: str, value: str) -> ConnectionEntry:
    """From the value of the environment variable: JSON. Raises InvalidInputError."""
    if not value.lstrip().startswith("{"):
        raise InvalidInputError(
            f"{variable_of(name)} is not JSON. Podbay reads no connection URIs; write it as "
            '{"conn_type": "kubernetes", "extra": {…}}.'
        )
    return read_entry(name, _load(value, variable_of(name)))


def read_entries(text: str, source: str) -> list[ConnectionEntry]:
    """From an import file: a mapping of names to connections. Raises InvalidInputError."""
    document = _load(text, source)
    if "conn_type" in document:
        return [read_entry("connection", document)]
    found = [read_entry(str(name), each) for name, each in document.items() if isinstance(each, Mapping)]
    if not found or len(found) != len(document):
        raise InvalidInputError(f"{source}: expected connections by name, as `--output json` prints them")
    return found


def _load(text: str, source: str) -> Mapping[str, Any]:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        # The parser's own words quote what stands there, which may be a secret.
        raise InvalidInputError(f"{source} is not JSON") from None
    if not isinstance(document, Mapping):
        raise InvalidInputError(f"{source} is not a JSON object")
    return document


def read_entry(name: str, document: Mapping[str, Any]) -> ConnectionEntry:
    """From its fields; `extra` as an object or as its JSON text. Raises InvalidInputError."""
    kind = document.get("conn_type")
    if kind != _TYPE:
        raise InvalidInputError(f"connection {name} is of type {kind!r}; a cluster's is {_TYPE!r}")
    extra = document.get("extra") or {}
    if isinstance(extra, str):
        extra = _load(extra, f"extra of connection {name}")
    if not isinstance(extra, Mapping):
        raise InvalidInputError(f"connection {name}: extra: must be a JSON object")
    return ConnectionEntry(name, extra, str(document.get("description") or ""))
