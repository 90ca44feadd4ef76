"""The body of a server-side apply: YAML or JSON, kept as it was written.

It must not be brought into normal form before it is applied: zero values that Go would add would become fields the
applier owns, and nulls that Go would drop say something. Source: applyPatcher in
k8s.io/apiserver/pkg/endpoints/handlers/patch.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from podbay.apiserver import status
from podbay.apiserver.patch.govalues import json_kind
from podbay.apiserver.schema import goyaml
from podbay.errors import ApiError
from podbay.objects.meta import Object

__all__ = ["Configuration", "read_configuration"]


@dataclass(frozen=True, slots=True)
class Configuration:
    """`obj` as written; `strict_error` names keys that were written twice, else it is empty."""

    obj: Object
    strict_error: str = ""

    def refusal(self) -> ApiError | None:
        """The 400 of strict field validation. It comes after conflicts, so ask for it when apply succeeded."""
        if not self.strict_error:
            return None
        return status.bad_request(f"error strict decoding YAML: {self.strict_error}")


def read_configuration(body: bytes | Any) -> Configuration:
    """Parse an apply body; a value that is parsed already is taken as it is. Raises ApiError 400."""
    duplicates: list[str] = []
    value = body
    if isinstance(body, bytes | bytearray | memoryview):
        try:
            value, duplicates = goyaml.load(bytes(body))
        except ValueError as error:
            raise _undecodable(f"error converting YAML to JSON: {error}") from None
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise _undecodable(
            "error unmarshaling JSON: while decoding JSON: "
            f"json: cannot unmarshal {json_kind(value)} into Go value of type map[string]interface {{}}"
        )
    if not duplicates:
        return Configuration(value)
    lines = "\n  ".join(duplicates)
    return Configuration(value, f"error converting YAML to JSON: yaml: unmarshal errors:\n  {lines}")


def _undecodable(text: str) -> ApiError:
    return status.bad_request(f"error decoding YAML: {text}")
