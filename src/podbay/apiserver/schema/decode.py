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
from podbay.apiserver.schema import gojson, goyaml
from podbay.apiserver.schema.explain import Explainer
from podbay.apiserver.schema.normalize import normalizer
from podbay.apiserver.schema.types import Schema
from podbay.errors import ApiError
from podbay.objects.meta import Object

__all__ = [
    "Decoded",
    "FieldValidation",
    "MediaType",
    "Target",
    "decode",
    "decode_options",
    "normalize",
    "normalize_strict",
]

MediaType: TypeAlias = Literal["json", "yaml"]
FieldValidation: TypeAlias = Literal["Strict", "Warn", "Ignore"]

_SCHEME = "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"
_META_SCHEME = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27"
_TYPE_META = (
    'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
)
_SUMMARY_LENGTH = 30


@dataclass(frozen=True, slots=True)
class Target:
    """What an endpoint takes. `also` lists further apiVersions of the same kind that it accepts (Eviction)."""

    kind: str
    api_version: str
    type_name: str
    also: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]


@dataclass(slots=True)
class Decoded:
    """An object in normal form with apiVersion and kind set; `warnings` are the strict errors that did not refuse it."""

    obj: Object
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Identity:
    """apiVersion and kind as the body gives them, completed from the endpoint."""

    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


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


def decode_options(schema: Schema, data: bytes | Object, *, media_type: MediaType = "json") -> Object:
    """The DeleteOptions in the body of a DELETE. Raises ApiError(400) with the bare sentence of the decoder."""
    try:
        tree, _ = _parse_tree(data, media_type)
        identity = _interpret(tree, Target("DeleteOptions", "meta.k8s.io/v1", ""))
        if identity.kind != "DeleteOptions":
            raise ValueError(_not_registered(identity, _META_SCHEME))
        return _explain(schema, "meta/v1.DeleteOptions", tree)[0]
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
        tree, yaml_errors = _parse_tree(data, media_type)
        identity = _interpret(tree, target)
    except (ValueError, RecursionError) as error:
        raise _unrecognized(target, str(error), data) from None
    try:
        name = _type_name(schema, target, identity, data)
        clean, strict_errors = _explain(schema, name, tree)
        if name != target.type_name:
            raise ValueError(_unknown_conversion(identity, target))
    except (ValueError, RecursionError) as error:
        raise _cannot_be_handled(identity, target, str(error)) from None
    strict_errors = yaml_errors + strict_errors
    if strict_errors and field_validation == "Strict":
        raise _cannot_be_handled(identity, target, "strict decoding error: " + ", ".join(strict_errors))
    if identity.api_version != target.api_version and identity.api_version not in target.also:
        raise status.bad_request(
            f"the API version in the data ({identity.api_version}) does not match the expected API version "
            f"({target.api_version})"
        )
    return Decoded(_stamp(clean, target), strict_errors if field_validation == "Warn" else [])


def _parse_tree(data: Any, media_type: MediaType) -> tuple[Any, list[str]]:
    """The body as a tree, and the strict errors of its YAML. ValueError carries the parser's sentence."""
    if not isinstance(data, bytes | bytearray):
        return gojson.to_tree(data), []
    if media_type == "yaml":
        value, duplicates = goyaml.load(bytes(data))
        errors = ["yaml: unmarshal errors:\n  " + "\n  ".join(duplicates)] if duplicates else []
        return gojson.to_tree(value), errors
    try:
        return gojson.parse(bytes(data)), []
    except ValueError as error:
        raise ValueError(f"couldn't get version/kind; json parse error: {error}") from None


def _interpret(tree: Any, target: Target) -> _Identity:
    """apiVersion and kind (Go: SimpleMetaFactory.Interpret; this one place is blind to the case of keys)."""
    found = {"apiversion": "", "kind": ""}
    if tree is None:
        tree = gojson.Pairs()
    if not isinstance(tree, gojson.Pairs):
        raise ValueError(_parse_error(tree, f"Go value of type {_TYPE_META}"))
    for key, value in tree:
        folded = key.lower()
        if folded not in found or value is None:
            continue
        if not isinstance(value, str) or isinstance(value, gojson.Number):
            name = "apiVersion" if folded == "apiversion" else "kind"
            raise ValueError(_parse_error(value, f"Go struct field .{name} of type string"))
        found[folded] = value
    group, version = _parse_group_version(found["apiversion"])
    if (not version and not group) or (not version and group == target.group):
        group, version = target.group, target.api_version.rpartition("/")[2]
    return _Identity(group, version, found["kind"] or target.kind)


def _parse_error(value: Any, into: str) -> str:
    word = Explainer.word(value)
    return f"couldn't get version/kind; json parse error: json: cannot unmarshal {word} into {into}"


def _parse_group_version(text: str) -> tuple[str, str]:
    if text in ("", "/"):
        return "", ""
    if text.count("/") > 1:
        raise ValueError(f"unexpected GroupVersion string: {text}")
    group, _, version = text.rpartition("/")
    return group, version


def _type_name(schema: Schema, target: Target, identity: _Identity, data: Any) -> str:
    """The struct that the body's own apiVersion and kind ask for."""
    if not identity.version:
        raise ValueError(f"Object 'apiVersion' is missing in '{_text_of(data)}'")
    accepted = (target.api_version, *target.also)
    if identity.kind == target.kind and identity.api_version in accepted:
        return target.type_name
    if not schema.knows_kind(identity.api_version, identity.kind):
        raise ValueError(_not_registered(identity, _SCHEME))
    name = f"{_package(identity.group)}/{identity.version}.{identity.kind}"
    if identity.kind == target.kind and _internal_package(identity.group) == _internal_package(target.group):
        return target.type_name
    if name not in schema:
        raise ValueError(_unknown_conversion(identity, target))
    return name


def _explain(schema: Schema, name: str, tree: Any) -> tuple[Object, list[str]]:
    explainer = Explainer(schema)
    clean = explainer.decode(name, tree)
    return normalizer(schema).struct(name)(clean), list(explainer.strict_errors)


def _package(group: str) -> str:
    return group.partition(".")[0] or "core"


def _internal_package(group: str) -> str:
    """The Go package of the internal type; both Event kinds share one."""
    package = _package(group)
    return "core" if package == "events" else package


def _unknown_conversion(identity: _Identity, target: Target) -> str:
    internal = f"{_internal_package(target.group)}.{target.kind}"
    return f"converting ({identity.version}.{identity.kind}) to ({internal}): unknown conversion"


def _not_registered(identity: _Identity, scheme: str) -> str:
    kind, version = go_quote(identity.kind), go_quote(identity.api_version)
    return f"no kind {kind} is registered for version {version} in scheme {go_quote(scheme)}"


def _cannot_be_handled(identity: _Identity, target: Target, why: str) -> ApiError:
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
