"""JSON patch (RFC 6902) with the liberties and limits that kube-apiserver's library has.

Sources: gopkg.in/evanphx/json-patch.v4 (v4.13) as called by k8s.io/apiserver/pkg/endpoints/handlers/patch.go.
Differences from the RFC that clients can see: `replace` of an absent key adds it, `test` of an absent key against
null passes, `copy` of an absent key copies null, negative indices count from the end. Not for what the patched
object may hold: decoding and validation follow in the caller.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from podbay.apiserver import status
from podbay.apiserver.field import go_quote
from podbay.apiserver.patch.govalues import clone, json_equal, json_kind, read_json
from podbay.errors import ApiError
from podbay.objects.meta import Object

__all__ = ["MAX_COPY_BYTES", "MAX_OPERATIONS", "apply_json_patch", "unknown_operation_fields"]

MAX_OPERATIONS = 10_000
"""A patch with more operations is answered 413."""
MAX_COPY_BYTES = 3 * 1024 * 1024
"""Sum of the JSON sizes of all copied values (kube-apiserver's JSONPatchMaxCopyBytes)."""

_INDEX = re.compile(r"[+-]?[0-9]+", re.ASCII)
_OPERATION_FIELDS = ("op", "path", "from", "value")


def _refused() -> ApiError:
    """The patch does not apply; every such case is the same 422."""
    return status.generic(422)


def apply_json_patch(doc: Object, operations: bytes | list[Any], *, strict: bool = True) -> Object:
    """Apply operations to a copy of doc and return it.

    operations is the request body or its parsed form. strict is true unless the request said
    `fieldValidation=Ignore`: then the body was decoded into typed operations first, with other words.
    Raises ApiError 400 (not a patch), 413 (too many operations), 422 (does not apply).
    """
    parsed = _decode(operations, strict=strict)
    if len(parsed) > MAX_OPERATIONS:
        raise status.request_entity_too_large(
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(parsed)}"
        )
    patching = _Patching(clone(doc))
    for operation in parsed:
        patching.apply(operation or {})
    if not isinstance(patching.root, dict):
        raise _refused()
    return patching.root


def unknown_operation_fields(operations: list[Any]) -> list[str]:
    """Sentences about fields that no operation has, for strict and warning field validation."""
    return [
        f"json patch unknown field {go_quote(f'[{i}].{name}')}"
        for i, operation in enumerate(operations)
        if isinstance(operation, dict)
        for name in operation
        if name not in _OPERATION_FIELDS
    ]


def _decode(operations: bytes | list[Any], *, strict: bool) -> list[Any]:
    try:
        parsed = read_json(operations)
    except ValueError as error:
        raise status.bad_request(_decode_message(str(error), strict=strict)) from None
    if parsed is None:
        return []
    mistake = _shape_mistake(parsed, strict=strict)
    if mistake:
        raise status.bad_request(_decode_message(f"json: cannot unmarshal {mistake}", strict=strict))
    return parsed  # type: ignore[no-any-return]


def _decode_message(text: str, *, strict: bool) -> str:
    return f"error decoding patch: {text}" if strict else text


def _shape_mistake(parsed: Any, *, strict: bool) -> str:
    """What is wrong with the patch's types, in encoding/json's words without their beginning."""
    whole, element = (
        ("[]handlers.jsonPatchOp", "handlers.jsonPatchOp")
        if strict
        else ("jsonpatch.Patch", "jsonpatch.Operation")
    )
    if not isinstance(parsed, list):
        return f"{json_kind(parsed)} into Go value of type {whole}"
    for operation in parsed:
        if operation is None:
            continue
        if not isinstance(operation, dict):
            return f"{json_kind(operation)} into Go value of type {element}"
        for name in _OPERATION_FIELDS[:3] if strict else ():
            value = operation.get(name)
            if value is not None and not isinstance(value, str):
                return f"{json_kind(value)} into Go struct field jsonPatchOp.{name} of type string"
    return ""


class _Patching:
    """One document while operations are applied to it, in place."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self._copied = 0

    def apply(self, operation: dict[str, Any]) -> None:
        kind = operation.get("op")
        act = _ACTIONS.get(kind) if isinstance(kind, str) else None
        if act is None:
            raise _refused()
        act(self, operation)

    def _find(self, pointer: str) -> tuple[Any, str]:
        """The container that holds the last part of a JSON pointer, and that part."""
        parts = [p.replace("~1", "/").replace("~0", "~") for p in pointer.split("/")]
        if len(parts) < 2:
            raise _refused()
        container = self.root
        for part in parts[1:-1]:
            container = _get(container, part)
            if not isinstance(container, dict | list):
                raise _refused()
        return container, parts[-1]

    def add(self, operation: dict[str, Any]) -> None:
        container, key = self._find(_pointer(operation, "path"))
        _add(container, key, clone(operation.get("value")))

    def remove(self, operation: dict[str, Any]) -> None:
        container, key = self._find(_pointer(operation, "path"))
        _remove(container, key)

    def replace(self, operation: dict[str, Any]) -> None:
        pointer, value = _pointer(operation, "path"), clone(operation.get("value"))
        if pointer == "":
            if not isinstance(value, dict | list):
                raise _refused()
            self.root = value
            return
        container, key = self._find(pointer)
        if isinstance(container, list):
            container[_index(key, len(container))] = value
        else:
            container[key] = value

    def move(self, operation: dict[str, Any]) -> None:
        container, key = self._find(_pointer(operation, "from"))
        value = _get(container, key)
        _remove(container, key)
        container, key = self._find(_pointer(operation, "path"))
        _add(container, key, value)

    def copy(self, operation: dict[str, Any]) -> None:
        container, key = self._find(_pointer(operation, "from"))
        encoded = orjson.dumps(_get(container, key))
        container, key = self._find(_pointer(operation, "path"))
        self._copied += len(encoded)
        if self._copied > MAX_COPY_BYTES:
            raise _refused()
        _add(container, key, orjson.loads(encoded))

    def test(self, operation: dict[str, Any]) -> None:
        pointer, wanted = _pointer(operation, "path"), operation.get("value")
        if pointer == "":
            found = self.root
        else:
            container, key = self._find(pointer)
            found = _get(container, key)
        if not json_equal(found, wanted):
            raise _refused()


_ACTIONS = {
    "add": _Patching.add,
    "remove": _Patching.remove,
    "replace": _Patching.replace,
    "move": _Patching.move,
    "copy": _Patching.copy,
    "test": _Patching.test,
}


def _pointer(operation: dict[str, Any], field: str) -> str:
    value = operation.get(field)
    if not isinstance(value, str):
        raise _refused()
    return value


def _index(key: str, length: int) -> int:
    """A list index below length; a negative one counts from the end."""
    if not _INDEX.fullmatch(key):
        raise _refused()
    index = int(key)
    if index < 0:
        index += length
    if not 0 <= index < length:
        raise _refused()
    return index


def _get(container: Any, key: str) -> Any:
    if isinstance(container, dict):
        return container.get(key)
    return container[_index(key, len(container))]


def _add(container: Any, key: str, value: Any) -> None:
    if isinstance(container, dict):
        container[key] = value
    elif key == "-":
        container.append(value)
    else:
        container.insert(_index(key, len(container) + 1), value)


def _remove(container: Any, key: str) -> None:
    if isinstance(container, list):
        del container[_index(key, len(container))]
    elif key in container:
        del container[key]
    else:
        raise _refused()
