"""Request bodies into objects, or into the refusals of kube-apiserver.

Decoding is one pass through the fast converters of normalize.py; only when they do not fit is the body read again
with bookkeeping (gojson.py, goyaml.py, explain.py) to find Go's words. Defaults and validation come later. Source:
apimachinery's runtime/serializer/{json,versioning}, apiserver's endpoints/handlers/{create,update,delete,rest}.go.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import orjson

from podbay.apiserver import status
from podbay.apiserver.field import go_quote
from podbay.apiserver.schema import gojson, goyaml, protobuf
from podbay.apiserver.schema.converter import Converter
from podbay.apiserver.schema.explain import Explainer
from podbay.apiserver.schema.identity import (
    META_SCHEME,
    Identity,
    Target,
    identify,
    interpret,
    not_registered,
    struct_of,
    unknown_conversion,
)
from podbay.apiserver.schema.normalize import normalizer
from podbay.apiserver.schema.types import Schema
from podbay.errors import ApiError
from podbay.objects.meta import Object

__all__ = [
    "Decoded",
    "FieldValidation",
    "MediaType",
    "Target",
    "convert_map",
    "decode",
    "decode_options",
    "normalize",
    "normalize_strict",
]

MediaType: TypeAlias = Literal["json", "yaml", "protobuf"]
FieldValidation: TypeAlias = Literal["Strict", "Warn", "Ignore"]

_SUMMARY_LENGTH = 30


@dataclass(slots=True)
class Decoded:
    """An object in normal form with apiVersion and kind set; `warnings` are the strict errors that did not refuse it."""

    obj: Object
    warnings: list[str] = field(default_factory=list)


def decode(
    schema: Schema,
    target: Target,
    data: bytes | Object | Sequence[Any],
    *,
    media_type: MediaType = "json",
    field_validation: FieldValidation = "Warn",
) -> Decoded:
    """Read a body sent to an endpoint. Raises ApiError(400) with the server's words and nothing else.

    data may be an object that is already parsed (callers in the same process); it is not changed.
    """
    obj = _parse_fast(data, media_type)
    if type(obj) is dict and _names_target(obj, target) and not _may_repeat_keys(data, obj, field_validation):
        fitted = _fit(schema, target.type_name, obj)
        if fitted is not None and (field_validation == "Ignore" or not normalizer(schema).unknown_seen):
            return Decoded(_stamp(fitted, target))
    return _decode_slow(schema, target, data, media_type, field_validation)


def normalize(schema: Schema, type_name: str, obj: Object) -> Object:
    """The normal form of an object (after a patch): what a round trip through the Go struct leaves.

    The argument is not changed. Raises ApiError(400) whose message is the bare sentence of Go's decoder.
    """
    fitted = _fit(schema, type_name, obj)
    return normalize_strict(schema, type_name, obj).obj if fitted is None else fitted


def normalize_strict(schema: Schema, type_name: str, obj: Object) -> Decoded:
    """As normalize; warnings tell the unknown fields that were dropped (`unknown field "spec.bogus"`)."""
    fitted = _fit(schema, type_name, obj)
    if fitted is not None and not normalizer(schema).unknown_seen:
        return Decoded(fitted)
    try:
        clean, strict_errors = _explain(schema, type_name, gojson.to_tree(obj))
    except (ValueError, RecursionError) as error:
        raise status.bad_request(str(error)) from None
    return Decoded(clean, strict_errors)


def convert_map(schema: Schema, type_name: str, obj: Object) -> Decoded:
    """As normalize_strict, with the sentences of the converter that ends a strategic merge patch."""
    fitted = _fit(schema, type_name, obj)
    if fitted is not None and not normalizer(schema).unknown_seen:
        return Decoded(fitted)
    converter = Converter(schema)
    try:
        clean = normalizer(schema).struct(type_name)(converter.convert(type_name, obj))
    except (ValueError, RecursionError) as error:
        raise status.bad_request(str(error)) from None
    return Decoded(clean, [f'unknown field "{path}"' for path in converter.unknown])


def decode_options(schema: Schema, data: bytes | Object, *, media_type: MediaType = "json") -> Object:
    """The DeleteOptions in the body of a DELETE. Raises ApiError(400) with the bare sentence of the decoder."""
    target = Target("DeleteOptions", "meta.k8s.io/v1", "meta/v1.DeleteOptions")
    try:
        body = _open(data, media_type, target)
        if body.identity.kind != target.kind:
            raise ValueError(not_registered(body.identity, META_SCHEME))
        return body.read(schema, target.type_name)[0]
    except (ValueError, RecursionError) as error:
        raise status.bad_request(str(error)) from None


def _fit(schema: Schema, type_name: str, obj: Any) -> Object | None:
    """The fast way: the normal form, or None when something does not fit. Leaves `unknown_seen` behind."""
    converters = normalizer(schema)
    converters.unknown_seen = False
    try:
        return converters.struct(type_name)(obj)  # type: ignore[no-any-return]
    except (ValueError, TypeError, RecursionError):
        return None


def _parse_fast(data: Any, media_type: MediaType) -> Any:
    if not isinstance(data, bytes | bytearray):
        return data
    if media_type != "json":
        return None
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def _names_target(obj: Object, target: Target) -> bool:
    return obj.get("kind") in (target.kind, None, "") and obj.get("apiVersion") in (
        target.api_version,
        None,
        "",
    )


def _may_repeat_keys(data: Any, obj: Object, field_validation: FieldValidation) -> bool:
    """Whether the text has a key twice in one object, which orjson does not tell."""
    if field_validation == "Ignore" or not isinstance(data, bytes | bytearray):
        return False
    return data != orjson.dumps(obj) and _repeats_keys(bytes(data))


def _repeats_keys(data: bytes) -> bool:
    repeated = False

    def check(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        out = dict(pairs)
        repeated = repeated or len(out) != len(pairs)
        return out

    try:
        json.loads(data, object_pairs_hook=check)
    except (ValueError, RecursionError):
        return True
    return repeated


def _stamp(obj: Object, target: Target) -> Object:
    obj["apiVersion"] = target.api_version
    obj["kind"] = target.kind
    return obj


def _decode_slow(
    schema: Schema, target: Target, data: Any, media_type: MediaType, field_validation: FieldValidation
) -> Decoded:
    try:
        body = _open(data, media_type, target)
    except (ValueError, RecursionError) as error:
        raise _unrecognized(target, str(error), data) from None
    identity = body.identity
    try:
        name = struct_of(schema, target, identity, _text_of(data))
        clean, strict_errors = body.read(schema, name)
        if name != target.type_name:
            raise ValueError(unknown_conversion(identity, target))
    except (ValueError, RecursionError) as error:
        raise _cannot_be_handled(identity, target, str(error)) from None
    if strict_errors and field_validation == "Strict":
        raise _cannot_be_handled(identity, target, "strict decoding error: " + ", ".join(strict_errors))
    if identity.api_version != target.api_version and identity.api_version not in target.also:
        raise status.bad_request(
            f"the API version in the data ({identity.api_version}) does not match the expected API version "
            f"({target.api_version})"
        )
    return Decoded(_stamp(clean, target), strict_errors if field_validation == "Warn" else [])


@dataclass(slots=True)
class _Body:
    """A body whose identity is known: a tree, or the message inside a protobuf envelope."""

    identity: Identity
    tree: Any = None
    message: bytes | None = None
    yaml_errors: list[str] = field(default_factory=list)

    def read(self, schema: Schema, name: str) -> tuple[Object, list[str]]:
        """The object in normal form and its strict errors. ValueError carries the decoder's sentence."""
        if self.message is None:
            clean, strict_errors = _explain(schema, name, self.tree)
            return clean, self.yaml_errors + strict_errors
        plain = protobuf.read_message(schema, name, self.message)
        fitted = _fit(schema, name, plain)
        return (_explain(schema, name, gojson.to_tree(plain))[0] if fitted is None else fitted), []


def _open(data: Any, media_type: MediaType, target: Target) -> _Body:
    """ValueError carries the parser's sentence."""
    if not isinstance(data, bytes | bytearray):
        tree = gojson.to_tree(data)
        return _Body(interpret(tree, target), tree)
    if media_type == "protobuf":
        api_version, kind, message = protobuf.open_envelope(bytes(data))
        return _Body(identify(api_version, kind, target), message=message)
    if media_type == "yaml":
        value, duplicates = goyaml.load(bytes(data))
        errors = ["yaml: unmarshal errors:\n  " + "\n  ".join(duplicates)] if duplicates else []
        tree = gojson.to_tree(value)
        return _Body(interpret(tree, target), tree, yaml_errors=errors)
    try:
        tree = gojson.parse(bytes(data))
    except ValueError as error:
        raise ValueError(f"couldn't get version/kind; json parse error: {error}") from None
    return _Body(interpret(tree, target), tree)


def _explain(schema: Schema, name: str, tree: Any) -> tuple[Object, list[str]]:
    explainer = Explainer(schema)
    clean = explainer.decode(name, tree)
    return normalizer(schema).struct(name)(clean), list(explainer.strict_errors)


def _cannot_be_handled(identity: Identity, target: Target, why: str) -> ApiError:
    return status.bad_request(
        f"{identity.kind} in version {go_quote(identity.version)} cannot be handled as a {target.kind}: {why}"
    )


def _unrecognized(target: Target, why: str, data: Any) -> ApiError:
    return status.bad_request(
        f"the object provided is unrecognized (must be of type {target.kind}): {why} ({_summary(data)})"
    )


def _summary(data: Any) -> str:
    """The first bytes of the body, as text when it starts like JSON, else in hexadecimal."""
    raw = bytes(data) if isinstance(data, bytes | bytearray) else orjson.dumps(data)
    if not raw:
        return "<empty>"
    head, more = raw[:_SUMMARY_LENGTH], " ..." if len(raw) > _SUMMARY_LENGTH else ""
    return (head.decode("utf-8", "replace") if raw[:1] == b"{" else head.hex()) + more


def _text_of(data: Any) -> str:
    raw = bytes(data) if isinstance(data, bytes | bytearray) else orjson.dumps(data)
    return raw.decode("utf-8", "replace")
